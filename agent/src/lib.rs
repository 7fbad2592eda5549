//! The Fleetwright agent: dials the server, runs what it is told at most once, and says how it went. `core` decides
//! and keeps the journal, `session` is the connection, `supervisor` is the process that outlives the agent around each
//! script, `operations` are what commands do. The binary in `main.rs` only reads its arguments.

pub mod abilities;
pub mod accounts;
pub mod agent;
pub mod authority;
pub mod backoff;
pub mod blobs;
pub mod certificate;
pub mod cgroup;
pub mod checked;
pub mod clock;
pub mod config;
pub mod core;
pub mod decide;
pub mod enrollment;
pub mod executor;
pub mod facts;
pub mod guard;
pub mod identity;
pub mod job;
pub mod journal;
pub mod launch;
pub mod logging;
pub mod masks;
pub mod operate;
pub mod operations;
pub mod output;
pub mod places;
pub mod plan;
pub mod policy;
pub mod private_file;
pub mod procfs;
pub mod run;
pub mod run_folder;
pub mod server_client;
pub mod session;
pub mod sessions;
pub mod status;
pub mod supervisor;
pub mod tls;
pub mod vms;
