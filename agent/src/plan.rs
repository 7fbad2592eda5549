//! Deployment plans, and operations with a health check: several things done one after the other in a process of their
//! own, the runner, under a supervisor as a script is. What was begun and what ended stands in a log in the folder of
//! the run, on disk before the next thing is done: whoever looks later, after whatever crash or restart, sees how far it
//! came, and no step is ever begun twice. `decide` says what follows, `report` what to tell of it; both are pure.

pub mod blobs;
pub mod cut_off;
pub mod decide;
pub mod earlier;
pub mod log;
pub mod order;
pub mod progress;
pub mod report;
pub mod runner;
mod step;
