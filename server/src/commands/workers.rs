//! The background work of commands: what `dispatcher`, `reports` and `sweep` do, for ever, or a step at a time for whoever
//! decides himself what happens when, as a simulation does.

use tokio::sync::mpsc;

use super::dispatcher::{self, Dispatcher};
use super::effects::Hint;
use super::report::AgentReport;
use super::service::{Commands, CommandsParts};
use super::{reports, sweep};
use crate::db::DbError;
use crate::loops::{Loop, Loops};

/// Reports that may wait; then connections wait, then agents do.
const QUEUE_MAX: usize = 8_192;

/// The background work, to be started once.
pub struct Workers {
    commands: Commands,
    pub(super) hints: mpsc::UnboundedReceiver<Hint>,
    reports: mpsc::Receiver<AgentReport>,
}

/// Makes commands, and the work behind them. Must be called on the server's runtime.
pub fn prepare(parts: CommandsParts) -> (Commands, Workers) {
    let (hints, hints_receiver) = mpsc::unbounded_channel();
    let (reports, reports_receiver) = mpsc::channel(QUEUE_MAX);
    let commands = Commands::with_queues(parts, hints, reports);
    let workers = Workers {
        commands: commands.clone(),
        hints: hints_receiver,
        reports: reports_receiver,
    };
    (commands, workers)
}

impl Workers {
    /// For a caller that takes every step itself.
    pub async fn by_hand(self) -> Result<ByHand, DbError> {
        ByHand::start(self.commands, self.hints, self.reports).await
    }

    /// Starts everything; it ends with the runtime.
    pub fn start(self, loops: &Loops) {
        let commands = self.commands;
        let stored = reports::run(commands.clone(), self.reports, loops.take(Loop::Reports));
        tokio::spawn(stored);
        tokio::spawn(sweep::run(commands.clone(), loops.take(Loop::Deadlines)));
        let notices = commands.outlets().notices.clone();
        tokio::spawn(notices.publish(commands.signals().clone(), loops.take(Loop::Notices)));
        tokio::spawn(dispatcher::run(
            commands,
            self.hints,
            loops.take(Loop::Dispatcher),
        ));
    }
}

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
        self.dispatcher.wake_rested();
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
