//! A run as core and executor speak of it: which one, what it tells and hears, and how it came out. Not how it is carried
//! out (`executor`), nor what is decided about it (`core`).

use fleetwright_protocol::{CommandId, NotStartedReason, Outcome};
use tokio::sync::{mpsc, oneshot, watch};

/// One attempt of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub command_id: CommandId,
    pub attempt: u32,
}

/// What a job tells while it is carried out.
#[derive(Debug)]
pub enum RunEvent {
    /// A supervisor waits. It goes only on `Ok`, after this is in the journal.
    Launched {
        run: Run,
        pid: u32,
        start_ticks: u64,
        go: oneshot::Sender<Result<(), NotStartedReason>>,
    },
    /// Nothing was started, provably.
    NotStarted {
        run: Run,
        reason: NotStartedReason,
    },
    Ended {
        run: Run,
        outcome: Box<Outcome>,
    },
}

impl RunEvent {
    pub fn ended(run: Run, outcome: Outcome) -> Self {
        Self::Ended {
            run,
            outcome: Box::new(outcome),
        }
    }
}

/// What a run tells and hears while it is under way.
pub struct RunChannels {
    /// The last event says how it came out.
    pub events: mpsc::Sender<RunEvent>,
    /// Turns true when the run is to be ended.
    pub kill: watch::Receiver<bool>,
}
