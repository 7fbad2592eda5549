//! What the parts' own `http.rs` files use to turn requests into calls and results into responses. Nothing here knows a
//! part, and nothing here decides who may: that is the `edge`.

pub mod created;
pub mod extract;
pub mod idempotency;
mod json;
pub mod limits;
pub mod page;
pub mod peer;
pub mod problem;
pub mod request_id;
pub mod timestamp;

pub use fleetwright_plugin_api::sdk::etag;

pub use extract::{JsonBody, OptionalJsonBody, PathId, StrictQuery};
pub use page::Page;
pub use problem::Problem;
pub use timestamp::Timestamp;
