//! The HTTP edge: how requests become calls and results become responses. Feature folders' `http.rs` files use
//! what is here; nothing here knows a feature but the router, which lists them.

pub mod access;
pub mod created;
mod docs;
mod envelope;
pub mod extract;
pub mod gate;
mod handshakes;
mod health;
pub mod idempotency;
pub mod in_process;
mod json;
pub mod limits;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod request_id;
pub mod router;
pub mod serve;
pub mod timestamp;

pub use fleetwright_plugin_api::sdk::etag;

pub use extract::{JsonBody, OptionalJsonBody, PathId, StrictQuery};
pub use page::Page;
pub use problem::Problem;
pub use timestamp::Timestamp;
