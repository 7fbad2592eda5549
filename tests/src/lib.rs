//! What the tests and the benchmarks share: real servers, real agents, simulated agents, private databases, and a
//! reader of the sources for the architecture checks. Not a place for product code: nothing depends on it.

pub mod agent_process;
pub mod binaries;
pub mod client;
pub mod counts;
pub mod databases;
pub mod debian;
pub mod enclosure;
pub mod fleet;
pub mod fuzz;
pub mod http;
pub mod imports;
pub mod load;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod scratch;
pub mod seed;
pub mod server_process;
pub mod simulation;
pub mod source;
pub mod vendor;
pub mod wait;
