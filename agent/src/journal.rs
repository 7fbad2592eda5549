//! The journal: what this agent has promised and done, on disk, so that no command starts twice and no result is lost.
//! `record` is the byte form, `entries` what the records add up to, `held` how much of it a server may cause, `recover` reads a file back, `store` writes it,
//! `disk` is where.
//! It knows nothing of processes or the network.

#[cfg(test)]
mod damage_tests;
pub mod disk;
pub mod entries;
mod held;
pub mod record;
pub mod recover;
pub mod store;

pub use disk::Disk;
pub use entries::{Entries, Entry, State};
pub use record::{ClosedAs, Execution, PlanRun, PowerKind, PowerRun, Record};
pub use store::{Durability, JournalError, JournalStore};
