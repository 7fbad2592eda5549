//! The safe side of the boundary: what a module author sees. A module implements [`Module`], declares itself in one
//! JSON document, and calls [`export_module!`](crate::export_module); the rest is an ordinary axum router.
//!
//! Nothing here decides anything about licences or roles: the server has checked both before a request arrives.

pub mod adapter;
mod batch;
mod boundary;
mod call;
mod database;
mod error;
pub mod export;
mod extract;
mod hosts;
mod identity;
mod logging;
mod refusal;
mod runtime;
mod server;
mod sets;
mod signals;
pub mod testing;

use std::future::Future;

pub use adapter::serve;
pub use axum;
pub use batch::{Batch, Reply};
pub use boundary::ModuleRouter;
pub use bytes::Bytes;
pub use call::{Call, Payload};
pub use database::{Database, Dialect};
pub use error::{CallError, ServerError};
pub use extract::Caller;
pub use fleetwright_http_kit::{
    At, Fields, FromFields, FromInput, IfMatch, IfNoneMatch, JsonBody, ListQuery, OptionalJsonBody,
    Page, PageParameters, Paging, PathId, PathIds, Problem, StrictQuery, Timestamp, etag,
    from_input, hyphenated, one_of, unknown_field,
};
pub use hosts::Hosts;
pub use identity::Identity;
pub use server::{Features, Server};
pub use sets::Sets;
pub use signals::Signals;

pub use crate::rows::{Row, RowError, Rows};
pub use crate::statement::Statement;
pub use crate::wire::{
    AuditEntry, CallContext, Cell, CommandOutput, CommandPage, CommandStatus, CommandView,
    FeatureState, HostChange, HostChanges, HostRecord, OfflinePolicy, RespondRecord, SetAction,
    SetControl, SetCreate, SetPreview, SetView,
};
pub use fleetwright_protocol::{CommandId, HostId, SetId, Violation};

/// A Pro module. One value of it lives as long as the module is loaded.
pub trait Module: Send + Sync + Sized + 'static {
    /// The module's own tables, oldest first. Run by the server, each in a transaction, before `start`.
    fn migrations() -> Vec<Migration> {
        Vec::new()
    }

    /// Builds the module and its router (with full paths, `/api/v1/fleet/…`), and spawns its loops with
    /// [`Server::spawn`].
    fn start(
        server: Server,
    ) -> impl Future<Output = Result<(Self, axum::Router), ModuleError>> + Send;

    /// A method another module calls in process (`Server::call`). Not reachable from outside.
    fn invoke(
        &self,
        context: CallContext,
        method: String,
        payload: Payload,
    ) -> impl Future<Output = Result<Payload, CallError>> + Send {
        let _ = (context, payload);
        async move { Err(CallError::unknown_method(&method)) }
    }
}

/// One forward-only step of a module's own tables, which are all named `<module>_…`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: u32,
    pub name: &'static str,
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

/// Why a module cannot start. Shown as it is in the module list, so it must not hold secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModuleError(pub String);

impl ModuleError {
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl From<ServerError> for ModuleError {
    fn from(error: ServerError) -> Self {
        Self::new(error)
    }
}
