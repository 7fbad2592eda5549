//! One deployment with its sets, its stored row, a clock, two controllers and an operator; and the claims that must hold
//! at every moment, checked against an account of its own.

use fleetwright_module_rolling::decide::control::{Control, control};
use fleetwright_module_rolling::decide::policy::{OnThreshold, Policy};
use fleetwright_module_rolling::decide::state::{End, State};
use fleetwright_module_rolling::decide::{
    Cause, Decision, Deployment, Effect, Seen, SetChange, Snapshot, Step, Target, decide,
};

use crate::choices::Choices;
use crate::fleet::{Fate, Host, Row, Set};

/// A decision someone has made and not written yet.
pub struct Pending {
    generation: u64,
    /// When it was decided: its clocks start then.
    decided_at_active_us: i64,
    step: Box<Step>,
}

pub struct World {
    pub policy: Policy,
    pub deployment: Deployment,
    generation: u64,
    pub set: Set,
    /// With where its batches end.
    pub rollback: Option<(Set, Vec<u64>)>,
    pub now_us: i64,
    pub pending: [Option<Pending>; 2],
    account: Account,
}

/// What is checked against: kept apart from the deployment's own row.
#[derive(Default)]
struct Account {
    /// Time that passed while nothing was paused.
    active_us: i64,
    finished_at_active_us: Option<i64>,
    released_at_active_us: i64,
    acknowledged: u64,
    approved: Vec<u64>,
    passed: bool,
    dispatched: u64,
    released: u64,
}

impl World {
    pub fn new(policy: Policy, fates: &[Fate]) -> Self {
        let hosts = (0..policy.total).zip(fates).map(|(ordinal, fate)| Host {
            row: Row::Held,
            fate: *fate,
            started: false,
            batch: policy.partition.batch_of(ordinal),
        });
        Self {
            set: Set {
                hosts: hosts.collect(),
                ..Set::default()
            },
            policy,
            deployment: Deployment::new(),
            generation: 1,
            rollback: None,
            now_us: 1_000_000_000,
            pending: [None, None],
            account: Account::default(),
        }
    }

    fn snapshot(&self, started: Option<u64>) -> Snapshot<'_> {
        let position = self
            .deployment
            .rollback
            .as_ref()
            .map_or(0, |rollback| rollback.batch_end);
        let rollback = self.rollback.as_ref().map(|(set, ends)| Seen {
            counts: set.counts(),
            next_end: ends.iter().copied().find(|end| *end > position),
        });
        Snapshot {
            policy: &self.policy,
            deployment: &self.deployment,
            counts: self.set.counts(),
            rollback,
            started,
        }
    }

    pub fn decide(&self) -> Decision {
        match decide(&self.snapshot(None), self.now_us) {
            Decision::GatherStarted => {
                let started = self.started().len() as u64;
                decide(&self.snapshot(Some(started)), self.now_us)
            }
            other => other,
        }
    }

    /// A controller reads and decides; it writes later, or never.
    pub fn think(&mut self, controller: usize) {
        if let Decision::Take(step) = self.decide() {
            self.pending[controller] = Some(Pending {
                generation: self.generation,
                decided_at_active_us: self.account.active_us,
                step,
            });
        }
    }

    /// A controller writes what it has decided; `keep` leaves it to be written once more.
    pub fn write(&mut self, controller: usize, keep: bool) {
        let Some(pending) = self.pending[controller].take() else {
            return;
        };
        self.commit(
            pending.generation,
            pending.decided_at_active_us,
            &pending.step,
        );
        if keep {
            self.pending[controller] = Some(pending);
        }
    }

    /// An operator's wish, decided on what is stored now. Returns whether the state allows it.
    pub fn control(&mut self, asked: Control) -> bool {
        let (before, generation) = (self.deployment.state, self.generation);
        let Ok(step) = control(&self.snapshot(None), asked, self.now_us) else {
            return false;
        };
        if let Some(step) = step {
            if let (Control::Resume, Cause::ResumedByOperator { acknowledged }) =
                (asked, step.cause)
                && acknowledged > 0
            {
                self.account.acknowledged = self.counted();
                self.account.passed = false;
            }
            if let (Control::Approve { batch }, State::AwaitingApproval { batch: asked, .. }) =
                (asked, before)
            {
                assert_eq!(batch, asked);
                self.account.approved.push(batch);
            }
            assert!(
                self.commit(generation, self.account.active_us, &step),
                "an operator's write was refused"
            );
        }
        true
    }

    pub fn pass_time(&mut self, by_us: i64) {
        self.now_us += by_us;
        if !matches!(self.deployment.state, State::Paused { .. }) {
            self.account.active_us += by_us;
        }
    }

    /// One thing happens to one host of either set.
    pub fn stir(&mut self, choices: &mut Choices) -> bool {
        let in_rollback = self.rollback.as_ref().map_or(0, |(set, _)| set.hosts.len());
        let ordinal =
            usize::try_from(choices.below((self.set.hosts.len() + in_rollback) as u64)).unwrap();
        self.stir_one(ordinal, choices)
    }

    /// The same to each of them in turn. Returns whether anything happened.
    pub fn stir_all(&mut self, choices: &mut Choices) -> bool {
        let in_rollback = self.rollback.as_ref().map_or(0, |(set, _)| set.hosts.len());
        let mut changed = false;
        for ordinal in 0..self.set.hosts.len() + in_rollback {
            changed |= self.stir_one(ordinal, choices);
        }
        changed
    }

    fn stir_one(&mut self, ordinal: usize, choices: &mut Choices) -> bool {
        let changed = if ordinal < self.set.hosts.len() {
            let (changed, started) = self.set.stir(ordinal, choices);
            if let Some(started) = started {
                self.check_start(started);
            }
            changed
        } else if let Some((set, _)) = &mut self.rollback {
            let (changed, started) = set.stir(ordinal - self.set.hosts.len(), choices);
            if let Some(started) = started {
                self.check_rollback_start(started);
            }
            changed
        } else {
            false
        };
        self.note_threshold();
        changed
    }

    pub fn delete(&mut self, choices: &mut Choices) {
        let ordinal = usize::try_from(choices.below(self.set.hosts.len() as u64)).unwrap();
        self.set.delete(ordinal);
        self.note_threshold();
    }

    /// The hosts that had started, last batch first.
    fn started(&self) -> Vec<usize> {
        let mut started: Vec<usize> = (0..self.set.hosts.len())
            .filter(|ordinal| self.set.hosts[*ordinal].started)
            .collect();
        started
            .sort_by_key(|ordinal| (std::cmp::Reverse(self.set.hosts[*ordinal].batch), *ordinal));
        started
    }

    /// One transaction: all of it if nothing was written since `generation` and the core agrees, or nothing.
    fn commit(&mut self, generation: u64, decided_at_active_us: i64, step: &Step) -> bool {
        if generation != self.generation {
            return false;
        }
        assert!(
            !self.deployment.state.is_terminal(),
            "a terminal deployment was written"
        );
        let (mut set, mut rollback) = (self.set.clone(), self.rollback.clone());
        for effect in &step.effects {
            match effect {
                Effect::Set(target, change) => {
                    let applied = match (target, &mut rollback) {
                        (Target::Deployment, _) => set.apply(*change),
                        (Target::Rollback, Some((rollback, _))) => rollback.apply(*change),
                        (Target::Rollback, None) => panic!("there is no rollback to change"),
                    };
                    if applied.is_err() {
                        return false;
                    }
                }
                Effect::CreateRollback => {
                    assert!(rollback.is_none(), "a second rollback");
                    rollback = Some(self.new_rollback());
                }
                Effect::Dispatched { .. } | Effect::Finished { .. } => {}
            }
        }
        for effect in &step.effects {
            self.check_effect(effect, decided_at_active_us);
        }
        self.check_end(step);
        (self.set, self.rollback) = (set, rollback);
        self.deployment = step.deployment.clone();
        self.generation += 1;
        true
    }

    fn new_rollback(&self) -> (Set, Vec<u64>) {
        let started = self.started();
        let hosts: Vec<Host> = started
            .iter()
            .map(|ordinal| Host {
                row: Row::Held,
                started: false,
                ..self.set.hosts[*ordinal].clone()
            })
            .collect();
        let mut ends: Vec<u64> = Vec::new();
        for (index, host) in hosts.iter().enumerate() {
            if hosts
                .get(index + 1)
                .is_none_or(|next| next.batch != host.batch)
            {
                ends.push(index as u64 + 1);
            }
        }
        (
            Set {
                hosts,
                ..Set::default()
            },
            ends,
        )
    }

    fn counted(&self) -> u64 {
        let failed = self.set.hosts.iter().filter(|host| match host.row {
            Row::Failed => true,
            Row::Unreachable => self.policy.count_unreachable,
            Row::Held | Row::Queued { .. } | Row::Running | Row::Succeeded | Row::Skipped => false,
        });
        failed.count() as u64
    }

    fn note_threshold(&mut self) {
        let failed = self.counted() - self.account.acknowledged;
        self.account.passed |= failed * 100 > self.policy.failure_threshold_pct * self.policy.total;
    }

    fn check_start(&self, ordinal: usize) {
        let batch = self.deployment.batch.number;
        assert_eq!(
            self.set.hosts[ordinal].batch, batch,
            "a host of another batch started"
        );
        assert!(
            (ordinal as u64) < self.account.released,
            "a host started that was not released"
        );
        let open = self.set.hosts.iter().filter(|host| host.is_open());
        assert!(
            open.clone().all(|host| host.batch == batch),
            "two batches are open"
        );
        let size = self
            .set
            .hosts
            .iter()
            .filter(|host| host.batch == batch)
            .count();
        assert!(open.count() <= size);
        assert!(
            self.rollback.is_none(),
            "a host of the deployment started during the rollback"
        );
    }

    fn check_rollback_start(&self, index: usize) {
        let (set, _) = self.rollback.as_ref().unwrap();
        let host = &set.hosts[index];
        let before = set.hosts.iter().filter(|other| other.batch > host.batch);
        assert!(
            before.clone().all(Host::is_terminal),
            "the rollback is not in reverse batch order"
        );
        let open = set.hosts.iter().filter(|host| host.is_open());
        assert!(
            open.clone().all(|other| other.batch == host.batch),
            "two batches of the rollback are open"
        );
        assert!(
            self.set.hosts.iter().all(Host::is_terminal),
            "rolled back before it had drained"
        );
    }

    fn check_effect(&mut self, effect: &Effect, decided_at_active_us: i64) {
        let account = &mut self.account;
        match effect {
            Effect::Dispatched { batch, .. } => {
                assert_eq!(
                    *batch,
                    account.dispatched + 1,
                    "a batch was left out or dispatched twice"
                );
                assert!(!account.passed, "a batch was dispatched past the threshold");
                assert!(
                    self.set
                        .hosts
                        .iter()
                        .all(|host| host.batch >= *batch || host.is_terminal()),
                    "the batch before is open"
                );
                if let Some(finished) = account.finished_at_active_us {
                    let waited = account.active_us - finished;
                    assert!(
                        waited >= self.policy.batch_delay_us,
                        "the delay was {waited} µs, a pause burnt the clock"
                    );
                }
                if self.policy.needs_approval(*batch) {
                    assert!(
                        account.approved.contains(batch),
                        "batch {batch} was not approved"
                    );
                }
                account.dispatched = *batch;
                account.finished_at_active_us = None;
            }
            Effect::Finished {
                batch,
                tally,
                skipped,
            } => {
                let mine = self.set.hosts.iter().filter(|host| host.batch == *batch);
                let (mut succeeded, mut failed, mut out) = (0, 0, 0);
                for host in mine {
                    match host.row {
                        Row::Succeeded => succeeded += 1,
                        Row::Failed | Row::Unreachable => failed += 1,
                        Row::Skipped => out += 1,
                        Row::Held | Row::Queued { .. } | Row::Running => {
                            panic!("a host of a finished batch is open")
                        }
                    }
                }
                assert_eq!(
                    (tally.succeeded, tally.failed, *skipped),
                    (succeeded, failed, out),
                    "batch {batch}"
                );
                account.finished_at_active_us = Some(decided_at_active_us);
            }
            Effect::Set(Target::Deployment, SetChange::Release { from, to }) => {
                assert_eq!(*from, account.released, "released twice or left out");
                assert!(*to <= self.policy.total && to >= from);
                let batch = self.policy.partition.batch_of(*from);
                assert!(
                    to == from || self.policy.partition.batch_of(*to - 1) == batch,
                    "a release reaches into the next batch"
                );
                account.released = *to;
                account.released_at_active_us = decided_at_active_us;
            }
            Effect::Set(Target::Deployment, SetChange::GiveUp { below }) => {
                let waited = account.active_us - account.released_at_active_us;
                assert!(
                    waited >= self.policy.host_wait_us,
                    "given up after {waited} µs"
                );
                assert!(*below <= account.released);
            }
            Effect::Set(_, _) | Effect::CreateRollback => {}
        }
    }

    /// Whether a deployment that ends may end like that.
    fn check_end(&mut self, step: &Step) {
        // A set whose hosts were all skipped takes no release; its batches are dispatched all the same.
        self.account.released = self.account.released.max(step.deployment.batch.released);
        let State::Over { end } = step.deployment.state else {
            return;
        };
        assert!(
            self.set.hosts.iter().all(Host::is_terminal),
            "{end:?} with open hosts"
        );
        let succeeded = self
            .set
            .hosts
            .iter()
            .filter(|host| host.row == Row::Succeeded)
            .count() as u64;
        let ran_to_its_end = matches!(step.cause, Cause::AllHostsFinished { .. });
        if ran_to_its_end {
            assert!(!self.account.passed, "finished past the threshold");
            let expected = match succeeded {
                0 => End::Failed,
                all if all == self.policy.total => End::Succeeded,
                _some => End::Partial,
            };
            assert_eq!(end, expected);
            return;
        }
        match end {
            End::Cancelled => {}
            End::Failed => {
                assert!(
                    self.account.passed || self.policy.batch_failure_threshold_pct.is_some(),
                    "failed under the threshold"
                );
                assert_eq!(self.policy.on_threshold, OnThreshold::Halt);
            }
            End::RolledBack | End::RollbackFailed => {
                let (set, _) = self.rollback.as_ref().unwrap();
                assert!(set.hosts.iter().all(Host::is_terminal));
                let everywhere = set.hosts.iter().all(|host| host.row == Row::Succeeded);
                assert!(end == End::RollbackFailed || everywhere);
            }
            End::Succeeded | End::Partial => panic!("{end:?} without finishing"),
        }
    }
}
