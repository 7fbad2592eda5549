//! The module on a test host: real databases, a clock and other modules that the test drives.

mod firing;
mod launching;
mod schedules;
mod support;
