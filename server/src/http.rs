//! The HTTP edge: how requests become calls and results become responses. Feature folders' `http.rs` files use
//! what is here; nothing here knows a feature.

pub mod etag;
pub mod extract;
pub mod idempotency;
mod json;
pub mod page;
pub mod problem;
pub mod request_id;
pub mod serve;
pub mod timestamp;

pub use extract::{JsonBody, PathId, StrictQuery};
pub use page::Page;
pub use problem::Problem;
pub use timestamp::Timestamp;
