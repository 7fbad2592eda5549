//! The safe side of the boundary: what a module author sees. A module implements [`Module`], declares itself in one
//! JSON document, and calls [`export_module!`](crate::export_module); the rest is an ordinary axum router.
//!
//! Nothing here decides anything about licences or roles: the server has checked both before a request arrives.

pub mod adapter;
mod batch;
mod boundary;
mod call;
mod capacity;
mod database;
mod error;
pub mod export;
mod extract;
mod hosts;
mod identity;
mod logging;
mod module;
mod problem_detail;
mod refusal;
mod runtime;
mod server;
mod sets;
mod signals;
pub mod testing;

pub use adapter::serve;
pub use axum;
pub use batch::{Batch, Reply};
pub use boundary::ModuleRouter;
pub use bytes::Bytes;
pub use call::{Call, Payload};
pub use capacity::{CAPACITY_SIGNAL, Capacity};
pub use database::{Database, Dialect};
pub use error::{CallError, ModuleError, ServerError};
pub use extract::Caller;
pub use fleetwright_http_kit::{
    At, Fields, FromFields, FromInput, IfMatch, IfNoneMatch, JsonBody, ListQuery, OptionalJsonBody,
    Page, PageParameters, Paging, PathId, PathIds, Problem, Reason, StrictQuery, Timestamp, bounds,
    concealed, etag, from_input, hyphenated, one_of, read, read_with,
};
pub use hosts::Hosts;
pub use identity::Identity;
pub use module::{Migration, Module};
pub use server::{Features, Server};
pub use sets::Sets;
pub use signals::Signals;

pub use crate::rows::{Row, RowError, Rows};
pub use crate::statement::Statement;
pub use crate::wire::{
    AuditEntry, CallContext, CapacityChanges, Cell, CommandOutput, CommandPage, CommandStatus,
    CommandView, FeatureState, HostChange, HostChanges, HostRecord, NodeCapacity, OfflinePolicy,
    RespondRecord, SetAction, SetControl, SetCreate, SetPreview, SetView, VmReport,
};
pub use fleetwright_protocol::{CommandId, HostId, SetId, Violation};
