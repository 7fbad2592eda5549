//! What a module is to the server: how it starts, its migrations, the methods others call.

use std::future::Future;

use super::{CallContext, CallError, ModuleError, Payload, Server};

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
    /// A few words, kept with the version.
    pub name: &'static str,
    /// The SQL for SQLite; several statements may stand in it.
    pub sqlite: &'static str,
    /// The same for PostgreSQL.
    pub postgres: &'static str,
}
