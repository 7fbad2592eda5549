//! The handle other parts hold on commands: reads, the pieces that run inside a transaction, and the ways into the background work.

use std::sync::Arc;

use fleetwright_plugin_api::wire::{
    CommandOutput, CommandPage, CommandQuery, CommandView, SetView,
};
use fleetwright_protocol::{CommandId, HostId, SetId};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

use super::effects::{Hint, Outlets};
use super::live_output::LiveOutput;
use super::notices::Notices;
use super::outputs::Spool;
use super::report::AgentReport;
use super::store::{reads, sets};
use crate::clock::{Now, SharedClock};
use crate::db::{Db, DbError};
use crate::events::Signals;
use crate::hosts::registry::HostRegistry;
use crate::links::Connections;
use crate::secrets::Secrets;

/// Results in memory on their way to the database: sixteen of the largest, thousands of ordinary ones. Whoever comes
/// next waits, which slows that agent down.
const RESULTS_KIB_MAX: u32 = 64 * 1024;

/// What commands are made of.
pub struct CommandsParts {
    pub db: Db,
    pub clock: SharedClock,
    pub registry: HostRegistry,
    pub connections: Connections,
    pub signals: Signals,
    pub spool: Spool,
    pub secrets: Secrets,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    inner: Arc<CommandsState>,
}

struct CommandsState {
    db: Db,
    clock: SharedClock,
    registry: HostRegistry,
    outlets: Outlets,
    signals: Signals,
    spool: Spool,
    secrets: Secrets,
    reports: mpsc::Sender<AgentReport>,
    results_kib: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

impl Commands {
    /// Must be called on the server's runtime. `hints` and `reports` are the queues that the background work reads.
    pub(super) fn with_queues(
        parts: CommandsParts,
        hints: mpsc::UnboundedSender<Hint>,
        reports: mpsc::Sender<AgentReport>,
    ) -> Self {
        let outlets = Outlets {
            hints,
            notices: Notices::default(),
            connections: parts.connections,
            live: LiveOutput::default(),
        };
        let inner = CommandsState {
            db: parts.db,
            clock: parts.clock,
            registry: parts.registry,
            outlets,
            signals: parts.signals,
            spool: parts.spool,
            secrets: parts.secrets,
            reports,
            results_kib: Arc::new(Semaphore::new(RESULTS_KIB_MAX as usize)),
            runtime: tokio::runtime::Handle::current(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    pub fn now(&self) -> Now {
        self.inner.clock.now()
    }

    pub fn new_id(&self) -> Uuid {
        self.inner.clock.new_id()
    }

    pub fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    pub fn registry(&self) -> &HostRegistry {
        &self.inner.registry
    }

    pub fn connections(&self) -> &Connections {
        &self.inner.outlets.connections
    }

    pub fn live_output(&self) -> &LiveOutput {
        &self.inner.outlets.live
    }

    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    pub fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.inner.signals
    }

    pub(super) fn outlets(&self) -> &Outlets {
        &self.inner.outlets
    }

    /// Has the dispatcher look at every open set, after commits of unknown outcome.
    pub async fn look_at_open_sets(&self) -> Result<(), DbError> {
        let rows = self.inner.db.read(sets::select_open()).await?;
        for row in &rows {
            self.inner.outlets.hint(Hint::Set(row.id("id")?));
        }
        Ok(())
    }

    /// Removes an attempt's spooled output, in the background.
    pub(super) fn forget_parts(&self, id: CommandId, attempt: u32) {
        let spool = self.inner.spool.clone();
        self.inner
            .runtime
            .spawn(async move { spool.forget(id, attempt).await });
    }

    /// Waits for memory to hold a result of so many bytes until it is stored.
    pub async fn room_for_result(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = self.inner.results_kib.clone();
        // Never closed. One result is far below the whole, so that it cannot wait for ever.
        room.acquire_many_owned(kib.min(RESULTS_KIB_MAX)).await.ok()
    }

    /// Hands in what an agent said; waits while the queue is full, which slows that agent down.
    pub async fn report(&self, report: AgentReport) {
        // The receiver only goes away when the server does.
        let _ = self.inner.reports.send(report).await;
    }

    /// The named sets, in no particular order; unknown ids are absent.
    pub async fn get_sets(&self, ids: &[SetId]) -> Result<Vec<SetView>, DbError> {
        let rows = self
            .inner
            .db
            .read(sets::select(self.inner.db.dialect(), ids))
            .await?;
        let views = rows
            .iter()
            .map(|row| sets::set_row(row).map(|set| set.view));
        Ok(views.collect::<Result<_, _>>()?)
    }

    /// A page of a set's rows in order, from ordinal `cursor` on.
    pub async fn page(&self, query: &CommandQuery) -> Result<CommandPage, DbError> {
        let statement = reads::page_of_set(self.inner.db.dialect(), query);
        let rows = self.inner.db.read(statement).await?;
        let items: Vec<CommandView> = rows
            .iter()
            .map(reads::command_view)
            .collect::<Result<_, _>>()?;
        let full = items.len() == usize::try_from(query.limit).unwrap_or(usize::MAX);
        let next_cursor = items.last().filter(|_| full).map(|last| last.ordinal + 1);
        Ok(CommandPage { items, next_cursor })
    }

    /// A host's commands, newest first, before `before` if given.
    pub async fn of_host(
        &self,
        host_id: HostId,
        before: Option<CommandId>,
        limit: u32,
    ) -> Result<Vec<CommandView>, DbError> {
        let statement = reads::page_of_host(self.inner.db.dialect(), host_id, before, limit);
        let rows = self.inner.db.read(statement).await?;
        Ok(rows
            .iter()
            .map(reads::command_view)
            .collect::<Result<_, _>>()?)
    }

    pub async fn get(&self, id: CommandId) -> Result<Option<CommandView>, DbError> {
        let rows = self
            .inner
            .db
            .read(reads::one(self.inner.db.dialect(), id))
            .await?;
        Ok(rows.first().map(reads::command_view).transpose()?)
    }

    pub async fn of_set_and_host(
        &self,
        set_id: SetId,
        host_id: HostId,
    ) -> Result<Option<CommandView>, DbError> {
        let statement = reads::one_of_host(self.inner.db.dialect(), set_id, host_id);
        let rows = self.inner.db.read(statement).await?;
        Ok(rows.first().map(reads::command_view).transpose()?)
    }

    /// The operation of a set (or of a single command's set): `{operation_type, parameters, options}`.
    pub async fn operation(&self, set_id: SetId) -> Result<Option<Value>, DbError> {
        let rows = self.inner.db.read(sets::select_operation(set_id)).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(serde_json::from_str(row.text("operation")?).ok())
    }

    /// The stored output; empty streams if the command printed nothing, `None` before it has ended with any.
    pub async fn output(&self, id: CommandId) -> Result<Option<CommandOutput>, DbError> {
        let rows = self.inner.db.read(reads::output(id)).await?;
        Ok(rows.first().map(reads::command_output).transpose()?)
    }
}
