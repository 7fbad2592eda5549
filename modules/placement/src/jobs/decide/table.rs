//! Which stage follows which, by whom and by what: the whole of it, as data. What is not here is refused.

use std::fmt::Write as _;

use super::super::job::Job;
use super::super::stage::Stage;

/// Who moves a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The factory that holds it, at the current epoch.
    Holder,
    Operator,
    System,
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    Claim,
    Build,
    Review,
    /// A review is given up to a human, with lease and seat.
    HandOver,
    Test,
    Ship,
    Fail,
    /// The holder gives it back.
    Release,
    AddChildren,
    /// Nothing it waits for is left.
    Settle,
    Preempt,
    Reap,
    Requeue,
    Cancel,
    Reject,
}

/// What else must be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    Leased,
    /// A review that waits for a human.
    Released,
    /// Leased, and one more attempt is allowed.
    AttemptsLeft,
    /// Leased, and this was the last attempt.
    AttemptsSpent,
    Waiting,
    /// Nothing is waited for.
    Free,
    /// Nothing is waited for, and there is work of its own.
    FreeWithWork,
    /// Nothing is waited for, and there is no work of its own.
    FreeWithoutWork,
}

/// One row: the event of that actor leads from one stage to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub from: Stage,
    pub to: Stage,
    pub actor: Actor,
    pub event: Event,
    pub when: When,
}

/// The event leads nowhere from where the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot {} a job that is {}", actor.as_str(), event.as_str(), from.as_str())]
pub struct InvalidTransition {
    pub from: Stage,
    pub actor: Actor,
    pub event: Event,
}

impl Actor {
    pub const ALL: [Self; 3] = [Self::Holder, Self::Operator, Self::System];

    /// As in sentences and in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holder => "the holder",
            Self::Operator => "an operator",
            Self::System => "the system",
        }
    }
}

impl Event {
    pub const ALL: [Self; 15] = [
        Self::Claim,
        Self::Build,
        Self::Review,
        Self::HandOver,
        Self::Test,
        Self::Ship,
        Self::Fail,
        Self::Release,
        Self::AddChildren,
        Self::Settle,
        Self::Preempt,
        Self::Reap,
        Self::Requeue,
        Self::Cancel,
        Self::Reject,
    ];

    /// As in sentences and in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Build => "build",
            Self::Review => "review",
            Self::HandOver => "hand over",
            Self::Test => "test",
            Self::Ship => "ship",
            Self::Fail => "fail",
            Self::Release => "release",
            Self::AddChildren => "add children to",
            Self::Settle => "settle",
            Self::Preempt => "preempt",
            Self::Reap => "reap",
            Self::Requeue => "requeue",
            Self::Cancel => "cancel",
            Self::Reject => "reject",
        }
    }

    /// The type of the event that is kept of it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Claim => "claimed",
            Self::Build | Self::Review | Self::Test => "stage",
            Self::HandOver => "handed_over",
            Self::Ship => "shipped",
            Self::Fail => "failed",
            Self::Release => "released",
            Self::AddChildren => "children_added",
            Self::Settle => "unblocked",
            Self::Preempt => "preempted",
            Self::Reap => "reaped",
            Self::Requeue => "requeued",
            Self::Cancel => "cancelled",
            Self::Reject => "rejected",
        }
    }
}

impl When {
    fn holds(self, job: &Job) -> bool {
        let (leased, free) = (job.lease.is_some(), job.waits_for == 0);
        let is_last = job.attempts.saturating_add(1) >= job.max_attempts;
        match self {
            Self::Always => true,
            Self::Leased => leased,
            Self::Released => job.released && !leased,
            Self::AttemptsLeft => leased && !is_last,
            Self::AttemptsSpent => leased && is_last,
            Self::Waiting => !free,
            Self::Free => free,
            Self::FreeWithWork => free && job.has_work,
            Self::FreeWithoutWork => free && !job.has_work,
        }
    }

    /// As in the document.
    fn as_str(self) -> &'static str {
        match self {
            Self::Always => "",
            Self::Leased => "while it is held",
            Self::Released => "once it is handed over",
            Self::AttemptsLeft => "attempts + 1 < max_attempts",
            Self::AttemptsSpent => "attempts + 1 = max_attempts",
            Self::Waiting => "while it waits for others",
            Self::Free => "when it waits for nothing",
            Self::FreeWithWork => "when it waits for nothing any more",
            Self::FreeWithoutWork => "the same, without work of its own",
        }
    }
}

const fn row(from: Stage, to: Stage, actor: Actor, event: Event, when: When) -> Row {
    Row {
        from,
        to,
        actor,
        event,
        when,
    }
}

/// What can happen to a job in one of these stages by what its holder, an operator or the system does to any that is held.
macro_rules! held {
    ($($from:expr),*) => {
        [$([
            row($from, Stage::Failed, Actor::Holder, Event::Fail, When::Leased),
            row($from, Stage::Queued, Actor::Holder, Event::Release, When::Leased),
            row($from, Stage::Blocked, Actor::Holder, Event::AddChildren, When::Leased),
            row($from, Stage::Queued, Actor::System, Event::Preempt, When::Leased),
            row($from, Stage::Queued, Actor::System, Event::Reap, When::AttemptsLeft),
            row($from, Stage::DeadLetter, Actor::System, Event::Reap, When::AttemptsSpent),
            row($from, Stage::Queued, Actor::Operator, Event::Requeue, When::Leased),
            row($from, Stage::DeadLetter, Actor::Operator, Event::Reject, When::Leased),
            row($from, Stage::Cancelled, Actor::Operator, Event::Cancel, When::Leased),
        ]),*]
    };
}

/// What is alike for every stage in which somebody holds a job.
static HELD: [[Row; 9]; 4] = held![
    Stage::Assigned,
    Stage::Building,
    Stage::Review,
    Stage::Testing
];

/// What is a stage's own.
#[rustfmt::skip]
static OWN: [Row; 30] = {
    use Actor::{Holder, Operator, System};
    use Stage::{Assigned, Blocked, Building, Cancelled, DeadLetter, Failed, Queued, Review, Shipped, Testing};
    use When::{Always, Free, FreeWithWork, FreeWithoutWork, Leased, Released, Waiting};
    [
        row(Queued, Assigned, System, Event::Claim, Always),
        row(Queued, Blocked, Operator, Event::AddChildren, Always),
        row(Queued, Cancelled, Operator, Event::Cancel, Always),
        row(Queued, DeadLetter, Operator, Event::Reject, Always),
        row(Blocked, Queued, System, Event::Settle, FreeWithWork),
        row(Blocked, Shipped, System, Event::Settle, FreeWithoutWork),
        row(Blocked, Blocked, Operator, Event::AddChildren, Always),
        row(Blocked, Cancelled, Operator, Event::Cancel, Always),
        row(Blocked, DeadLetter, Operator, Event::Reject, Always),
        row(Assigned, Building, Holder, Event::Build, Leased),
        row(Building, Review, Holder, Event::Review, Leased),
        row(Building, Review, Holder, Event::HandOver, Leased),
        row(Building, Testing, Holder, Event::Test, Leased),
        row(Building, Shipped, Holder, Event::Ship, Leased),
        row(Review, Building, Holder, Event::Build, Leased),
        row(Review, Testing, Holder, Event::Test, Leased),
        row(Review, Shipped, Holder, Event::Ship, Leased),
        row(Review, Review, Holder, Event::HandOver, Leased),
        row(Review, Shipped, Operator, Event::Ship, Released),
        row(Review, Queued, Operator, Event::Requeue, Released),
        row(Review, DeadLetter, Operator, Event::Reject, Released),
        row(Review, Cancelled, Operator, Event::Cancel, Released),
        row(Testing, Building, Holder, Event::Build, Leased),
        row(Testing, Review, Holder, Event::Review, Leased),
        row(Testing, Review, Holder, Event::HandOver, Leased),
        row(Testing, Shipped, Holder, Event::Ship, Leased),
        row(Failed, Queued, Operator, Event::Requeue, Free),
        row(Failed, Blocked, Operator, Event::Requeue, Waiting),
        row(Failed, DeadLetter, Operator, Event::Reject, Always),
        row(Failed, Cancelled, Operator, Event::Cancel, Always),
    ]
};

/// Every row.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    OWN.iter().chain(HELD.iter().flatten())
}

/// Where this leads. Whether whoever says to be the holder is one is decided before.
pub fn transition(job: &Job, actor: Actor, event: Event) -> Result<Stage, InvalidTransition> {
    rows()
        .find(|row| {
            (row.from, row.actor, row.event) == (job.stage, actor, event) && row.when.holds(job)
        })
        .map(|row| row.to)
        .ok_or(InvalidTransition {
            from: job.stage,
            actor,
            event,
        })
}

/// The table for people, as Markdown.
pub fn markdown() -> String {
    let mut text = "| from | to | by | event | when |\n|---|---|---|---|---|\n".to_owned();
    for from in Stage::ALL {
        for row in rows().filter(|row| row.from == from) {
            let (to, by, when) = (row.to.as_str(), row.actor.as_str(), row.when.as_str());
            let event = row.event.as_str();
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "| {} | {to} | {by} | {event} | {when} |",
                from.as_str()
            );
        }
    }
    text
}
