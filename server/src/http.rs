//! What the parts' own `http.rs` files use to turn requests into calls and results into responses. Nothing here knows a
//! part, and nothing here decides who may: that is the `edge`.

pub mod created;
mod failure;
pub mod forwarded;
pub mod idempotency;
pub mod limits;
pub mod peer;
pub mod streams;

pub use fleetwright_http_kit::{
    At, FromInput, JsonBody, ListQuery, OptionalJsonBody, Page, PageParameters, PathId, Problem,
    Reason, StrictQuery, Timestamp, concealed, etag, from_input, one_of, request_id,
};
