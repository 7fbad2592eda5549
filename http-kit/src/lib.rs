//! The conventions of the HTTP API, once for the server and for every module: problems, JSON bodies, queries, ids in
//! paths, entity tags, times. It knows nothing of databases, of who is calling, or of the boundary between the server
//! and its modules: what turns their errors into problems stands beside those errors.

pub mod bounds;
pub mod concealed;
pub mod etag;
mod extract;
mod fields;
mod input;
pub mod json;
mod page;
mod problem;
mod query;
pub mod request_id;
mod timestamp;

pub use bounds::{Reason, one_of};
pub use etag::{IfMatch, IfNoneMatch};
pub use extract::{JsonBody, OptionalJsonBody, PathId, PathIds, require_json};
pub use fields::{Fields, FromFields};
pub use input::{At, FromInput, hyphenated, read, read_with};
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, Page, Paging};
pub use problem::{BODY_BYTES_MAX, ERRORS_MAX, MEDIA_TYPE, Problem};
pub use query::{ListQuery, PageParameters, StrictQuery};
pub use serde_json::{Number, Value};
pub use timestamp::Timestamp;
