//! The module on a test host: its routes, and what goes on beside them.

mod following;
mod operations;
mod support;
