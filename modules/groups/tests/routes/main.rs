//! The module on a test host: selections, groups, and what other modules call.

mod groups;
mod members;
mod select;
mod support;
