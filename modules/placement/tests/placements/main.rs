//! Nodes, placements and tenants through the router, on both databases.

mod feed;
mod nodes;
mod passes;
mod placing;
mod servers;
mod support;
mod tenants;
