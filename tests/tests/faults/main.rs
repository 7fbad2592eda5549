//! What must hold whatever fails: the invariants of ARCHITECTURE.md under killed servers. A
//! failure prints the seed that repeats its choices.

mod clocks;
mod crash;
mod disks;
mod ledger;
mod links;
mod partition;
