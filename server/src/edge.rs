//! The operators' port, on top of every part: what surrounds a request, who may do what, every part's routes under one
//! gate, the document that describes them, health, and the accept loop of both ports.

pub mod access;
mod described;
mod docs;
mod envelope;
pub mod gate;
mod handshakes;
mod health;
pub mod in_process;
pub mod openapi;
pub mod router;
pub mod serve;
