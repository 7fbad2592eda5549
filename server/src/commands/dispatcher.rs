//! Sends what waits, to whom can take it, within each set's limits. One task; level-triggered: hints say where to look,
//! the database says what there is. A set is walked in order with a cursor; a host that connects or has room again is
//! looked at by itself, so a fleet that is mostly offline is not walked over and over.

mod rests;
mod send;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use fleetwright_protocol::{HostId, SetId};
use tokio::sync::mpsc;

use rests::Rests;

use super::effects::Hint;
use super::materialise::Frozen;
use super::service::Commands;
use super::store::sets;
use crate::db::DbError;
use crate::loops::Place;

/// How long the dispatcher rests after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Hosts looked at together.
const HOSTS_BATCH: usize = 500;

pub(super) async fn run(
    commands: Commands,
    mut hints: mpsc::UnboundedReceiver<Hint>,
    place: Place,
) {
    let mut dispatcher = Dispatcher::new(commands);
    while let Err(error) = dispatcher.find_open_sets().await {
        tracing::warn!(%error, "cannot list the open command sets; trying again");
        tokio::time::sleep(PAUSE).await;
    }
    let mut ticks = place.ticks();
    loop {
        if dispatcher.is_idle() {
            tokio::select! {
                hint = hints.recv() => match hint {
                    Some(hint) => dispatcher.take(hint),
                    None => return,
                },
                _ = ticks.tick() => dispatcher.wake_rested(),
            }
        }
        let run = place.begin();
        while let Ok(hint) = hints.try_recv() {
            dispatcher.take(hint);
        }
        let stepped = dispatcher.step().await;
        drop(run);
        if let Err(error) = stepped {
            tracing::warn!(%error, "dispatching failed; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What the dispatcher remembers of a set while it is open. All of it can be lost. There may be as many open sets as
/// there are commands waiting for hosts that are away, so the operation (up to 768 KiB) is not among it.
struct SetWork {
    /// The next ordinal to look at.
    cursor: u64,
    /// Something before the cursor may wait.
    rescan: bool,
    /// The set's generation when the walk began; a control starts it over.
    generation: i64,
    /// Where working off a cancel or an expiry stands; `None` when it is done.
    settle_cursor: Option<u64>,
    /// The expiry has been worked off, or is being.
    expiring: bool,
    /// Hosts before this ordinal have been given up, as far as they were to be.
    given_up_below: u64,
    /// Present until every host has its row.
    frozen: Option<Frozen>,
}

pub(super) struct Dispatcher {
    commands: Commands,
    work: HashMap<SetId, SetWork>,
    queue: VecDeque<SetId>,
    queued: BTreeSet<SetId>,
    hosts: BTreeSet<HostId>,
    resting: Rests<HostId>,
    /// Sets whose secrets could not be read.
    sealed: Rests<SetId>,
}

/// Whether a set needs another step now.
#[derive(PartialEq, Eq)]
enum Step {
    More,
    Rest,
    /// The set is finished or gone.
    Over,
}

impl Dispatcher {
    pub(super) fn new(commands: Commands) -> Self {
        Self {
            commands,
            work: HashMap::new(),
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            hosts: BTreeSet::new(),
            resting: Rests::default(),
            sealed: Rests::default(),
        }
    }

    pub(super) async fn find_open_sets(&mut self) -> Result<(), DbError> {
        let rows = self.commands.db().read(sets::select_open()).await?;
        for row in &rows {
            self.enqueue(row.id("id")?);
        }
        Ok(())
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.hosts.is_empty()
    }

    pub(super) fn take(&mut self, hint: Hint) {
        match hint {
            Hint::Set(id) => self.enqueue(id),
            Hint::Host(id) => {
                self.hosts.insert(id);
            }
            Hint::HostLater(id, pause_us) => {
                let now = self.commands.clock().monotonic_us();
                self.resting.begin(id, now.saturating_add(pause_us));
            }
        }
    }

    fn enqueue(&mut self, id: SetId) {
        if self.queued.insert(id) {
            self.queue.push_back(id);
        }
    }

    /// Looks again at the hosts and sets whose rest is over.
    pub(super) fn wake_rested(&mut self) {
        let now = self.commands.clock().monotonic_us();
        while let Some(id) = self.resting.pop_over(now) {
            self.hosts.insert(id);
        }
        while let Some(id) = self.sealed.pop_over(now) {
            if let Some(work) = self.work.get_mut(&id) {
                work.cursor = 0;
            }
            self.enqueue(id);
        }
    }

    /// One bounded piece of work. On an error nothing is forgotten: the piece is queued again.
    pub(super) async fn step(&mut self) -> Result<(), DbError> {
        self.wake_rested();
        if !self.hosts.is_empty() {
            let batch: Vec<HostId> = self.hosts.iter().copied().take(HOSTS_BATCH).collect();
            for id in &batch {
                self.hosts.remove(id);
            }
            if let Err(error) = self.serve_hosts(&batch).await {
                self.hosts.extend(batch);
                return Err(error);
            }
        }
        if let Some(id) = self.queue.pop_front() {
            self.queued.remove(&id);
            match self.step_set(id).await {
                Ok(Step::More) => self.enqueue(id),
                Ok(Step::Rest) => {}
                Ok(Step::Over) => {
                    self.work.remove(&id);
                }
                Err(error) => {
                    self.work.remove(&id);
                    self.enqueue(id);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
