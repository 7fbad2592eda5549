//! The background work of commands, a step at a time instead of for ever: for whoever decides himself what happens when,
//! as a simulation does. The steps are the ones that `dispatcher`, `reports` and `sweep` take.

use tokio::sync::mpsc;

use super::dispatcher::Dispatcher;
use super::effects::Hint;
use super::reports::{self, AgentReport};
use super::service::Commands;
use super::sweep;
use crate::db::DbError;

/// What of it waits is lost when this is dropped, as it is in a crash.
pub struct ByHand {
    commands: Commands,
    dispatcher: Dispatcher,
    hints: mpsc::UnboundedReceiver<Hint>,
    reports: mpsc::Receiver<AgentReport>,
}

impl ByHand {
    pub(super) async fn start(
        commands: Commands,
        hints: mpsc::UnboundedReceiver<Hint>,
        reports: mpsc::Receiver<AgentReport>,
    ) -> Result<Self, DbError> {
        let mut dispatcher = Dispatcher::new(commands.clone());
        dispatcher.find_open_sets().await?;
        Ok(Self {
            commands,
            dispatcher,
            hints,
            reports,
        })
    }

    /// One piece of the dispatcher's work; returns whether there was any.
    pub async fn dispatch(&mut self) -> Result<bool, DbError> {
        while let Ok(hint) = self.hints.try_recv() {
            self.dispatcher.take(hint);
        }
        self.dispatcher.wake_rested_hosts();
        if self.dispatcher.is_idle() {
            return Ok(false);
        }
        self.dispatcher.step().await?;
        Ok(true)
    }

    pub fn reports_waiting(&self) -> usize {
        self.reports.len()
    }

    /// Stores what agents have said, at most `count` reports in one transaction.
    pub async fn store_reports(&mut self, count: usize) {
        let mut batch = Vec::new();
        while batch.len() < count
            && let Ok(report) = self.reports.try_recv()
        {
            batch.push(report);
        }
        reports::store_all(&self.commands, batch).await;
    }

    /// Looks for deadlines that have passed.
    pub async fn sweep(&self) -> Result<(), DbError> {
        sweep::tick(&self.commands).await
    }
}
