//! Every stage, actor and event, against what the product promises; and what follows for those that wait.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::settle::{Edge, Settling};
use super::table::{Actor, Event, markdown, rows, transition};
use super::{StaleLease, after, held, lease_at};
use crate::jobs::job::{Job, Lease, Priority};
use crate::jobs::stage::Stage;

fn job(stage: Stage) -> Job {
    let holds = matches!(
        stage,
        Stage::Assigned | Stage::Building | Stage::Review | Stage::Testing
    );
    Job {
        id: Uuid::from_u128(1),
        tenant_id: String::new(),
        idempotency_key: "key".to_owned(),
        request_digest: String::new(),
        product_id: "default".to_owned(),
        kind: "task".to_owned(),
        priority: Priority::Normal,
        capabilities: Vec::new(),
        has_work: true,
        estimate_micros: 0,
        max_attempts: 3,
        attempts: 0,
        preemptions: 0,
        stage,
        reason: None,
        released: false,
        checkpoint: None,
        waits_for: 0,
        parent_id: None,
        lease_epoch: 4,
        lease: holds.then(|| Lease {
            factory_id: Uuid::from_u128(9),
            claim_id: None,
            claimed_at_us: 1,
            expires_lease_us: 2,
        }),
        created_at_us: 0,
        created_by: "user:test".to_owned(),
        created_by_name: "test".to_owned(),
        updated_at_us: 0,
        ended_at_us: None,
        revision: 7,
    }
}

/// What the product promises of a job that waits for nothing and has attempts left, without the table.
fn promised(from: Stage, actor: Actor, event: Event) -> Option<Stage> {
    use Stage::{
        Assigned, Blocked, Building, Cancelled, DeadLetter, Failed, Queued, Review, Shipped,
        Testing,
    };
    let is_held = [Assigned, Building, Review, Testing].contains(&from);
    let works = [Building, Review, Testing].contains(&from);
    let waits = [Queued, Blocked, Failed].contains(&from);
    match (actor, event) {
        (Actor::System, Event::Claim) => (from == Queued).then_some(Assigned),
        (Actor::System, Event::Settle) => (from == Blocked).then_some(Queued),
        (Actor::System, Event::Preempt | Event::Reap) => is_held.then_some(Queued),
        (Actor::Operator, Event::AddChildren) => {
            [Queued, Blocked].contains(&from).then_some(Blocked)
        }
        (Actor::Operator, Event::Requeue) => (is_held || from == Failed).then_some(Queued),
        (Actor::Operator, Event::Cancel) => (is_held || waits).then_some(Cancelled),
        (Actor::Operator, Event::Reject) => (is_held || waits).then_some(DeadLetter),
        (Actor::Holder, Event::Build) => [Assigned, Review, Testing]
            .contains(&from)
            .then_some(Building),
        (Actor::Holder, Event::Review) => [Building, Testing].contains(&from).then_some(Review),
        (Actor::Holder, Event::HandOver) => works.then_some(Review),
        (Actor::Holder, Event::Test) => [Building, Review].contains(&from).then_some(Testing),
        (Actor::Holder, Event::Ship) => works.then_some(Shipped),
        (Actor::Holder, Event::Fail) => is_held.then_some(Failed),
        (Actor::Holder, Event::Release) => is_held.then_some(Queued),
        (Actor::Holder, Event::AddChildren) => is_held.then_some(Blocked),
        _ => None,
    }
}

#[test]
fn every_event_of_every_actor_in_every_stage_leads_where_the_product_says() {
    let mut seen = 0;
    for from in Stage::ALL {
        for actor in Actor::ALL {
            for event in Event::ALL {
                let led = transition(&job(from), actor, event).ok();
                let told = (from, actor, event);
                assert_eq!(led, promised(from, actor, event), "{told:?}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 10 * 3 * 15);
}

#[test]
fn what_else_must_be_so_is_looked_at() {
    let cases: [(Job, Actor, Event, Option<Stage>); 9] = [
        (
            Job {
                released: true,
                lease: None,
                ..job(Stage::Review)
            },
            Actor::Operator,
            Event::Ship,
            Some(Stage::Shipped),
        ),
        (
            Job {
                released: true,
                lease: None,
                ..job(Stage::Review)
            },
            Actor::Operator,
            Event::Requeue,
            Some(Stage::Queued),
        ),
        (
            Job {
                released: true,
                lease: None,
                ..job(Stage::Review)
            },
            Actor::Holder,
            Event::Build,
            None,
        ),
        (
            Job {
                attempts: 2,
                ..job(Stage::Building)
            },
            Actor::System,
            Event::Reap,
            Some(Stage::DeadLetter),
        ),
        (
            Job {
                attempts: 1,
                ..job(Stage::Building)
            },
            Actor::System,
            Event::Reap,
            Some(Stage::Queued),
        ),
        (
            Job {
                waits_for: 1,
                ..job(Stage::Blocked)
            },
            Actor::System,
            Event::Settle,
            None,
        ),
        (
            Job {
                has_work: false,
                ..job(Stage::Blocked)
            },
            Actor::System,
            Event::Settle,
            Some(Stage::Shipped),
        ),
        (
            Job {
                waits_for: 1,
                ..job(Stage::Failed)
            },
            Actor::Operator,
            Event::Requeue,
            Some(Stage::Blocked),
        ),
        (
            Job {
                lease: None,
                ..job(Stage::Building)
            },
            Actor::Holder,
            Event::Ship,
            None,
        ),
    ];
    for (job, actor, event, expected) in cases {
        let led = transition(&job, actor, event).ok();
        assert_eq!(led, expected, "{:?} {actor:?} {event:?}", job.stage);
    }
}

#[test]
fn nothing_leads_out_of_what_is_final_and_no_two_rows_say_different_things() {
    let mut pairs = BTreeSet::new();
    for row in rows() {
        assert!(!row.from.is_final(), "{row:?}");
        let same = (row.from, row.actor, row.event, format!("{:?}", row.when));
        assert!(pairs.insert(same), "{row:?}");
    }
}

#[test]
fn attempts_rise_on_failure_and_reap_alone_and_the_epoch_with_whoever_takes_it_away() {
    for row in rows() {
        let mut before = job(row.from);
        if row.from == Stage::Review && transition(&before, row.actor, row.event).is_err() {
            (before.released, before.lease) = (true, None);
        }
        let Ok(after) = after(&before, row.actor, row.event, 50) else {
            continue;
        };
        let tries = matches!(row.event, Event::Fail | Event::Reap);
        assert_eq!(after.attempts, i64::from(tries), "{row:?}");
        let takes = row.actor == Actor::Operator
            || matches!(row.event, Event::Claim | Event::Reap | Event::Preempt);
        assert_eq!(after.lease_epoch, 4 + i64::from(takes), "{row:?}");
        assert_eq!(after.revision, 8, "{row:?}");
        assert_eq!(
            after.ended_at_us.is_some(),
            after.stage.is_final(),
            "{row:?}"
        );
        let goes_on = matches!(
            after.stage,
            Stage::Building | Stage::Review | Stage::Testing
        );
        let keeps = goes_on && row.event != Event::HandOver;
        assert_eq!(after.lease.is_some(), keeps, "{row:?}");
    }
}

#[test]
fn an_older_epoch_or_another_factory_is_stale() {
    let stale = Err(StaleLease { current: 4 });
    let job = job(Stage::Building);
    let (holder, other) = (Some(Uuid::from_u128(9)), Some(Uuid::from_u128(8)));
    assert_eq!(held(&job, 4, None), Ok(()));
    assert_eq!(held(&job, 4, holder), Ok(()));
    assert_eq!(held(&job, 4, other), stale);
    assert_eq!(held(&job, 3, holder), stale);
    assert_eq!(held(&job, 5, holder), stale);
    let ended = Job { lease: None, ..job };
    assert_eq!(held(&ended, 4, None), stale);
    assert_eq!(lease_at(&ended, 4, holder), Ok(None));
}

#[test]
fn one_that_waits_for_several_is_queued_by_the_last_in_one_change() {
    let waiting = Job {
        waits_for: 3,
        ..job(Stage::Blocked)
    };
    let edge = |number| Edge {
        job_id: waiting.id,
        dependency_id: Uuid::from_u128(number),
    };
    let mut settling = Settling::default();
    for number in [2, 3, 4] {
        let stage = settling
            .changes
            .get(&waiting.id)
            .map(|(_, after)| after.stage);
        assert_ne!(stage, Some(Stage::Queued), "too early");
        assert!(!settling.settle(edge(number), &waiting, 50));
    }
    let (before, after) = &settling.changes[&waiting.id];
    assert_eq!((before.waits_for, after.waits_for), (3, 0));
    assert_eq!((after.stage, after.revision), (Stage::Queued, 8));
    let composite = Job {
        waits_for: 1,
        has_work: false,
        ..job(Stage::Blocked)
    };
    assert!(
        Settling::default().settle(edge(2), &composite, 50),
        "it ships in turn"
    );
}

#[test]
fn the_document_shows_every_row() {
    let text = markdown();
    assert_eq!(text.lines().count(), 2 + rows().count());
    let mut stages: BTreeMap<Stage, usize> = BTreeMap::new();
    for row in rows() {
        *stages.entry(row.from).or_default() += 1;
    }
    assert_eq!(stages.len(), 7);
}
