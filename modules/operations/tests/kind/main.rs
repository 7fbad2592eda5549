//! What this package does for every kind, shown with the smallest kind there can be (`sample`): its routes, events, lists,
//! controls, calls and pruning. What a real kind adds is tested in its module.

mod behind;
mod routes;
mod sample;
mod support;
