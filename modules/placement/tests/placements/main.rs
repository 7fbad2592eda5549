//! Nodes, placements and tenants through the router, on both databases.

mod document;
mod feed;
mod histories;
mod nodes;
mod passes;
mod placing;
mod servers;
mod support;
mod tenants;
