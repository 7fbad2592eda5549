//! Claims through their routes, on both databases: who gets what, by which order, once and no more, and for how long.

mod claiming;
#[path = "../recount/kept.rs"]
mod kept;
mod leasing;
mod preempting;
mod racing;
mod simulation;
mod support;
mod switches;
