//! What the parts' own `http.rs` files use to turn requests into calls and results into responses. Nothing here knows a
//! part, and nothing here decides who may: that is the `edge`.

pub mod created;
mod failure;
pub mod idempotency;
pub mod limits;
pub mod page;
pub mod peer;

pub use fleetwright_http_kit::{
    JsonBody, OptionalJsonBody, PathId, Problem, StrictQuery, Timestamp, etag, request_id,
};
pub use page::Page;
