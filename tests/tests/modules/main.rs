//! Module files and licences against a real server: what is refused and why, what runs, how it misbehaves, and that the
//! server lives through all of it. The libraries are built from `tests/abi`.

mod behaviour;
mod declarations;
mod files;
mod fixtures;
mod licences;
mod lifecycle;
