//! The conventions of the HTTP API, once for the server and for every module: problems, JSON bodies, queries, ids in
//! paths, entity tags, times. It knows nothing of databases, of who is calling, or of the boundary between the server
//! and its modules: what turns their errors into problems stands beside those errors.

pub mod etag;
mod extract;
pub mod json;
mod problem;
pub mod request_id;
mod timestamp;

pub use etag::{IfMatch, IfNoneMatch};
pub use extract::{JsonBody, OptionalJsonBody, PathId, PathIds, StrictQuery, require_json};
pub use problem::{ERRORS_MAX, MEDIA_TYPE, Problem};
pub use timestamp::Timestamp;
