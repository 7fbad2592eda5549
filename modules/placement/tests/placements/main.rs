//! Nodes, placements and tenants through the router, on both databases.

mod nodes;
mod placing;
mod support;
mod tenants;
