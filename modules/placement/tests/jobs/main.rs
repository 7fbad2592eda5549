//! Jobs through their routes, on both databases: submitting, reporting, what waits for what, and what people do.

mod document;
#[path = "../recount/kept.rs"]
mod kept;
mod reporting;
mod submitting;
mod support;
mod waiting;
