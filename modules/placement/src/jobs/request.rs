//! Reads what clients send about jobs. Every field may also be spelled in camel case. Everything that is wrong is told, with
//! its place.

mod draft;
mod operate;
mod report;
mod text;

use fleetwright_plugin_api::sdk::{FromInput, Problem, read};
use serde_json::Value;

pub use draft::{ChildrenRequest, DEPENDENCIES_MAX, Draft, JobRequest, NewChildren};
pub use operate::{CountParams, ListParams, Waiver, Why};
pub use report::{ArtifactRequest, Recorded, Report, ReportRequest, RunRequest, artifact, run};

/// Reads a body of this slice.
pub fn body<T: FromInput>(value: Value) -> Result<T, Problem> {
    read(value)
}
