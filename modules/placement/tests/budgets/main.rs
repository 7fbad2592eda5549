//! Budgets on a test host: real databases, and a clock that the test moves.

mod counting;
mod routes;
mod support;
