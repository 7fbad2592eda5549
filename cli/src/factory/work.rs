//! A worker at work: it claims, each job has a thread, and a heartbeat tells what is held.

use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::failure::{Completion, Failure};

use super::attempt::{Attempt, Ending, Order, Progress};
use super::floor::Floor;
use super::job::Job;
use super::journal::Journal;
use super::office::{BackOff, Office, Unsaid};
use super::signals;

/// Of one claim. Whoever stops waits for its end, so that no job is claimed for nobody.
const WAIT_SECONDS: u64 = 5;
/// Between claims of a worker without a free seat: a critical job may take the seat of another.
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// A claim that was to wait and did not is not repeated at once.
const EARLY_PAUSE: Duration = Duration::from_secs(1);

pub struct Plan {
    pub name: String,
    pub capabilities: Vec<String>,
    pub seats: usize,
    pub product: Option<String>,
    /// Ends when there is nothing to claim and everything has ended.
    pub once: bool,
    /// Ends after so many jobs.
    pub jobs: Option<u64>,
    pub beat: Duration,
    pub order: Order,
}

/// Works until it is stopped, or what was planned is done.
pub fn work(client: &Client, journal: Journal, plan: &Plan) -> Result<Completion, Failure> {
    let floor = Arc::new(Floor::new());
    signals::listen(Arc::clone(&floor), journal)?;
    let office = Office::register(client, &plan.name, &plan.capabilities, plan.seats)?;
    journal.tell(
        "registered",
        "",
        &format!("{} as {}", plan.name, office.factory_id()),
    );
    take_leave(&office, journal)?;
    floor.heard();
    let worker = Worker {
        office: &office,
        floor: &floor,
        journal,
        plan,
    };
    thread::scope(|scope| {
        scope.spawn(|| worker.beat());
        worker.claim(scope);
        floor.close();
    });
    let (failure, not_shipped) = floor.result();
    let is_bounded = plan.once || plan.jobs.is_some();
    match failure {
        Some(failure) => Err(failure),
        None if is_bounded && not_shipped > 0 => Ok(Completion::NotAllSucceeded),
        None => Ok(Completion::Done),
    }
}

/// What an earlier process of this name held is nobody's now.
fn take_leave(office: &Office<'_>, journal: Journal) -> Result<(), Failure> {
    for (id, epoch) in office.left_over()? {
        let said =
            serde_json::json!({ "stage": "queued", "reason": "its worker was started again" });
        let key = uuid::Uuid::new_v4().to_string();
        match office.report((&id, epoch), &said, &key) {
            Ok(()) => journal.tell("given back", &id, "held from before"),
            Err(Unsaid::Stale) => {}
            Err(Unsaid::Passing(error) | Unsaid::Refused(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Worker<'a> {
    office: &'a Office<'a>,
    floor: &'a Floor,
    journal: Journal,
    plan: &'a Plan,
}

impl<'a> Worker<'a> {
    /// Until it stops.
    fn claim<'scope>(&'scope self, scope: &'scope Scope<'scope, 'a>) {
        let mut pauses = BackOff::new();
        let mut claim_id = fresh();
        let mut left = self.plan.jobs.unwrap_or(u64::MAX);
        while left > 0 && !self.floor.is_stopping() {
            let in_hand = self.floor.in_hand();
            let is_full = in_hand >= self.plan.seats;
            let wait = if is_full || self.plan.once {
                0
            } else {
                WAIT_SECONDS
            };
            let asked = Instant::now();
            let product = self.plan.product.as_deref();
            let claimed = self.office.claim(&claim_id, product, wait);
            if claimed.is_ok() {
                pauses = BackOff::new();
                claim_id = fresh();
                self.floor.heard();
            }
            match claimed {
                Ok(Some(job)) => {
                    left -= 1;
                    self.begin(scope, job);
                    if is_full {
                        // Another one has lost its seat.
                        self.floor.want_beat();
                    }
                }
                Ok(None) if self.plan.once && in_hand == 0 => return,
                Ok(None) if is_full || self.plan.once => self.floor.rest(FULL_PAUSE),
                Ok(None) if asked.elapsed() < EARLY_PAUSE => self.floor.rest(EARLY_PAUSE),
                Ok(None) => {}
                Err(Unsaid::Passing(error)) => {
                    self.journal.tell("waiting", "", &error.to_string());
                    self.floor.rest(pauses.next());
                }
                // A claim has no lease that could be stale: whatever that is, it passes.
                Err(Unsaid::Stale) => self.floor.rest(pauses.next()),
                Err(Unsaid::Refused(error)) => self.floor.fail(error.into()),
            }
        }
    }

    fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, 'a>, job: Job) {
        let detail = format!("{} of {}, attempt {}", job.kind, job.product, job.attempt);
        self.journal.tell("claimed", &job.id, &detail);
        let claim = (job.id.clone(), job.epoch);
        let notices = self.floor.take(claim.clone());
        scope.spawn(move || {
            let attempt = Attempt {
                office: self.office,
                floor: self.floor,
                journal: self.journal,
                order: &self.plan.order,
                job: &job,
                claim,
                notices,
                progress: Progress::default(),
            };
            let (event, detail) = match attempt.run() {
                Ending::Shipped => ("shipped", String::new()),
                Ending::Failed(reason) => ("failed", reason),
                Ending::GivenBack => ("given back", String::new()),
                Ending::HandedOver => ("handed over", String::new()),
                Ending::Lost => ("lost", "it is held no more".to_owned()),
                Ending::Untold(why) => ("untold", why),
            };
            self.journal.tell(event, &job.id, &detail);
        });
    }

    /// Until everything has ended.
    fn beat(&self) {
        let mut pauses = BackOff::new();
        let mut pause = self.plan.beat;
        while self.floor.beat_due(pause) {
            pause = self.plan.beat;
            match self.office.beat(&self.floor.held()) {
                Ok(lost) => {
                    self.floor.heard();
                    pauses = BackOff::new();
                    lost.iter().for_each(|claim| self.floor.lose(claim));
                }
                Err(Unsaid::Passing(_) | Unsaid::Stale) => pause = pause.min(pauses.next()),
                Err(Unsaid::Refused(error)) => self.floor.fail(error.into()),
            }
        }
    }
}

fn fresh() -> String {
    uuid::Uuid::new_v4().to_string()
}
