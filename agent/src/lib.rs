//! The Fleetwright agent: dials the server, runs what it is told at most once, and says how it went. `core` decides
//! and keeps the journal, `session` is the connection, `supervisor` is the process that outlives the agent around each
//! script, `operations` are what commands do. The binary in `main.rs` only reads its arguments.

pub mod checked;
pub mod clock;
pub mod journal;
pub mod private_file;
pub mod procfs;
pub mod supervisor;
