//! Jobs through their routes, on both databases: submitting, reporting, what waits for what, and what people do.

mod document;
mod reporting;
mod submitting;
mod support;
mod waiting;
