//! What the tests and the benchmarks share: real servers, real agents, simulated agents, private databases, and a
//! reader of the sources for the architecture checks. Not a place for product code: nothing depends on it.

pub mod counts;
pub mod databases;
pub mod postgres;
pub mod source;
pub mod wait;
