//! The module on a test host: real database, fake core. Its controller runs beside every test, as in a server.

mod deployments;
mod support;
