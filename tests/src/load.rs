//! The load generator: simulated agents that speak the real protocol over real TLS, and what the benchmarks measure
//! with them. Not a model of an agent's host: nothing is executed.

pub mod agent;
pub mod crowd;
mod facts;
pub mod identity;
pub mod inventory;
pub mod measures;
pub mod plot;
pub mod report;
pub mod scripted;
pub mod statistics;
pub mod turns;
pub mod websocket;
