//! Single claims of the product page, by table; whole lives are simulated in `tests/simulation`.

mod thresholds;

use super::control::{Control, control};
use super::policy::{Partition, Policy, RequireApproval, Sizing};
use super::state::{End, Was};
use super::timer::Timer;
use super::*;

const NOW: i64 = 1_000_000_000;
const SECOND: i64 = 1_000_000;

fn policy() -> Policy {
    Policy {
        total: 10,
        partition: Partition::new(&Sizing::BatchSize(4), 10),
        batch_delay_us: 60 * SECOND,
        host_wait_us: 600 * SECOND,
        failure_threshold_pct: 20,
        batch_failure_threshold_pct: None,
        count_unreachable: true,
        on_threshold: OnThreshold::Halt,
        require_approval: None,
        has_rollback: false,
    }
}

/// The first batch is dispatched; these are its hosts, the rest is held.
fn first_batch(queued: u64, running: u64, succeeded: u64, failed: u64) -> (Deployment, Counts) {
    let mut deployment = Deployment::new();
    deployment.state = State::Running;
    deployment.batch = Batch {
        number: 1,
        released: 4,
        wait: Timer::started(NOW, 600 * SECOND),
        ..Batch::default()
    };
    let counts = Counts {
        total: 10,
        held: 6,
        queued,
        running,
        succeeded,
        failed,
        ..Counts::default()
    };
    (deployment, counts)
}

fn ask(policy: &Policy, deployment: &Deployment, counts: Counts, lease_us: i64) -> Decision {
    decide(
        &Snapshot {
            policy,
            deployment,
            counts,
            rollback: None,
            started: None,
        },
        lease_us,
    )
}

fn step(decision: Decision) -> Step {
    match decision {
        Decision::Take(step) => *step,
        other => panic!("expected a step, got {other:?}"),
    }
}

fn controlled(
    policy: &Policy,
    deployment: &Deployment,
    counts: Counts,
    asked: Control,
    lease_us: i64,
) -> Option<Step> {
    control(
        &Snapshot {
            policy,
            deployment,
            counts,
            rollback: None,
            started: None,
        },
        asked,
        lease_us,
    )
    .unwrap()
}

#[test]
fn the_first_batch_is_released_at_once_and_no_more() {
    let counts = Counts {
        total: 10,
        held: 10,
        ..Counts::default()
    };
    let taken = step(ask(&policy(), &Deployment::new(), counts, NOW));
    assert_eq!(taken.deployment.state, State::Running);
    let release = SetChange::Release { from: 0, to: 4 };
    assert_eq!(
        taken.effects,
        [
            Effect::Dispatched { batch: 1, size: 4 },
            Effect::Set(Target::Deployment, release)
        ]
    );
}

#[test]
fn the_next_batch_waits_for_every_host_and_then_for_the_delay() {
    let policy = policy();
    let (deployment, counts) = first_batch(0, 1, 3, 0);
    assert_eq!(
        ask(&policy, &deployment, counts, NOW),
        Decision::Wait { until_us: None }
    );
    let (deployment, counts) = first_batch(0, 0, 4, 0);
    let finished = step(ask(&policy, &deployment, counts, NOW)).deployment;
    assert_eq!(finished.next_batch_at_us(&policy), Some(NOW + 60 * SECOND));
    let early = ask(&policy, &finished, counts, NOW + 60 * SECOND - 1);
    assert_eq!(
        early,
        Decision::Wait {
            until_us: Some(NOW + 60 * SECOND)
        }
    );
    let next = step(ask(&policy, &finished, counts, NOW + 60 * SECOND));
    assert_eq!(next.cause, Cause::BatchDispatched { batch: 2 });
}

#[test]
fn a_host_that_does_not_start_in_time_is_given_up_once() {
    let policy = policy();
    let (deployment, mut counts) = first_batch(1, 0, 3, 0);
    let due = NOW + 600 * SECOND;
    assert_eq!(
        ask(&policy, &deployment, counts, due - 1),
        Decision::Wait {
            until_us: Some(due)
        }
    );
    let taken = step(ask(&policy, &deployment, counts, due));
    assert_eq!(
        taken.effects,
        [Effect::Set(
            Target::Deployment,
            SetChange::GiveUp { below: 4 }
        )]
    );
    counts.given_up_below = 4;
    assert_eq!(
        ask(&policy, &taken.deployment, counts, due),
        Decision::Wait { until_us: None }
    );
}

#[test]
fn a_pause_keeps_the_rest_of_the_delay_and_of_the_wait() {
    let policy = policy();
    let (deployment, counts) = first_batch(0, 0, 4, 0);
    let finished = step(ask(&policy, &deployment, counts, NOW)).deployment;
    let paused = controlled(
        &policy,
        &finished,
        counts,
        Control::Pause,
        NOW + 20 * SECOND,
    )
    .unwrap()
    .deployment;
    assert_eq!(paused.batch.delay.left_us(), Some(40 * SECOND));
    assert_eq!(paused.next_batch_at_us(&policy), None);
    assert_eq!(
        ask(&policy, &paused, counts, NOW + 9_999 * SECOND),
        Decision::Wait { until_us: None }
    );
    assert_eq!(
        controlled(&policy, &paused, counts, Control::Pause, NOW),
        None,
        "it is so already"
    );
    let later = NOW + 9_999 * SECOND;
    let resumed = controlled(&policy, &paused, counts, Control::Resume, later)
        .unwrap()
        .deployment;
    assert_eq!(resumed.next_batch_at_us(&policy), Some(later + 40 * SECOND));

    let (waiting, counts) = first_batch(1, 0, 3, 0);
    let paused = controlled(
        &policy,
        &waiting,
        counts,
        Control::Pause,
        NOW + 500 * SECOND,
    )
    .unwrap()
    .deployment;
    let resumed = controlled(&policy, &paused, counts, Control::Resume, later)
        .unwrap()
        .deployment;
    assert_eq!(
        ask(&policy, &resumed, counts, later),
        Decision::Wait {
            until_us: Some(later + 100 * SECOND)
        }
    );
}

#[test]
fn a_resume_accepts_the_failures_that_paused_it() {
    let policy = Policy {
        on_threshold: OnThreshold::Pause,
        ..policy()
    };
    let (deployment, mut counts) = first_batch(0, 1, 0, 3);
    let paused = step(ask(&policy, &deployment, counts, NOW));
    assert_eq!(
        paused.deployment.state,
        State::Paused {
            was: Was::Running,
            cause: PauseCause::Threshold
        }
    );
    assert_eq!(
        paused.effects,
        [Effect::Set(Target::Deployment, SetChange::Pause)]
    );
    // The fourth fails while it is paused: it was seen too.
    (counts.running, counts.failed) = (0, 4);
    let resumed = controlled(&policy, &paused.deployment, counts, Control::Resume, NOW)
        .unwrap()
        .deployment;
    assert_eq!(resumed.acknowledged, 4);
    assert!(matches!(
        step(ask(&policy, &resumed, counts, NOW)).cause,
        Cause::BatchFinished { batch: 1 }
    ));
    counts.failed = 6;
    assert!(
        matches!(ask(&policy, &resumed, counts, NOW), Decision::Take(step) if step.deployment.state == State::Running)
    );
    counts.failed = 7;
    assert!(matches!(
        step(ask(&policy, &resumed, counts, NOW)).deployment.state,
        State::Paused { .. }
    ));
}

#[test]
fn a_resume_after_an_operators_pause_accepts_nothing() {
    let policy = Policy {
        on_threshold: OnThreshold::Pause,
        ..policy()
    };
    let (deployment, counts) = first_batch(0, 2, 0, 2);
    let paused = controlled(&policy, &deployment, counts, Control::Pause, NOW)
        .unwrap()
        .deployment;
    let resumed = controlled(&policy, &paused, counts, Control::Resume, NOW)
        .unwrap()
        .deployment;
    assert_eq!(resumed.acknowledged, 0);
}

#[test]
fn an_approval_is_for_the_batch_that_waits() {
    for (require, batch, waits) in [
        (None, 1, false),
        (Some(RequireApproval::First), 1, true),
        (Some(RequireApproval::First), 2, false),
        (Some(RequireApproval::Each), 1, true),
        (Some(RequireApproval::Each), 2, true),
    ] {
        let policy = Policy {
            require_approval: require,
            batch_delay_us: 0,
            ..policy()
        };
        let (mut deployment, counts) = first_batch(0, 0, 4, 0);
        // Approvals of earlier batches are for those.
        deployment.approved = batch;
        deployment.batch = Batch {
            number: batch,
            released: 4 * batch,
            finished: true,
            ..Batch::default()
        };
        let taken = step(ask(&policy, &deployment, counts, NOW));
        let next = batch + 1;
        assert_eq!(
            taken.deployment.state
                == State::AwaitingApproval {
                    batch: next,
                    cancelling: false
                },
            waits,
            "{require:?} {batch}"
        );
        if waits {
            let snapshot = Snapshot {
                policy: &policy,
                deployment: &taken.deployment,
                counts,
                rollback: None,
                started: None,
            };
            assert!(control(&snapshot, Control::Approve { batch: next + 1 }, NOW).is_err());
            let approved = control(&snapshot, Control::Approve { batch: next }, NOW)
                .unwrap()
                .unwrap();
            let next_step = step(ask(&policy, &approved.deployment, counts, NOW));
            assert_eq!(next_step.cause, Cause::BatchDispatched { batch: next });
        }
    }
}

#[test]
fn a_halted_deployment_rolls_back_only_if_something_had_started() {
    let policy = Policy {
        has_rollback: true,
        ..policy()
    };
    let (mut deployment, _) = first_batch(0, 0, 1, 3);
    deployment.state = State::Halting;
    let counts = Counts {
        total: 10,
        succeeded: 1,
        failed: 3,
        skipped: 6,
        ..Counts::default()
    };
    assert_eq!(
        ask(&policy, &deployment, counts, NOW),
        Decision::GatherStarted
    );
    for (started, expected) in [
        (0, State::Over { end: End::Failed }),
        (4, State::RollingBack { cancelling: false }),
    ] {
        let snapshot = Snapshot {
            policy: &policy,
            deployment: &deployment,
            counts,
            rollback: None,
            started: Some(started),
        };
        assert_eq!(step(decide(&snapshot, NOW)).deployment.state, expected);
    }
}

#[test]
fn a_large_batch_is_released_in_slices() {
    let policy = Policy {
        total: 1_200,
        partition: Partition::new(&Sizing::BatchSize(1_200), 1_200),
        ..policy()
    };
    let mut counts = Counts {
        total: 1_200,
        held: 1_200,
        ..Counts::default()
    };
    let mut deployment = Deployment::new();
    let mut slices = Vec::new();
    while deployment.batch.released < 1_200 {
        let taken = step(ask(&policy, &deployment, counts, NOW));
        for effect in &taken.effects {
            if let Effect::Set(_, SetChange::Release { from, to }) = effect {
                slices.push((*from, *to));
                (counts.held, counts.succeeded) =
                    (counts.held - (to - from), counts.succeeded + (to - from));
            }
        }
        deployment = taken.deployment;
    }
    assert_eq!(slices, [(0, 500), (500, 1_000), (1_000, 1_200)]);
}

#[test]
fn a_stored_deployment_reads_back() {
    let (mut deployment, _) = first_batch(1, 1, 1, 1);
    deployment.rollback = Some(Rollback {
        total: 3,
        batch_end: 2,
        released: 1,
        wait: Timer::Off,
    });
    let text = serde_json::to_string(&deployment).unwrap();
    assert_eq!(
        serde_json::from_str::<Deployment>(&text).unwrap(),
        deployment
    );
}

#[test]
fn a_batch_that_ends_before_all_of_it_was_released_is_waited_for_and_given_up() {
    let policy = Policy {
        total: 1_200,
        partition: Partition::new(&Sizing::BatchSize(1_200), 1_200),
        ..policy()
    };
    let mut deployment = Deployment::new();
    deployment.state = State::Running;
    deployment.batch = Batch {
        number: 1,
        released: 500,
        ..Batch::default()
    };
    let mut counts = Counts {
        total: 1_200,
        held: 700,
        queued: 1,
        succeeded: 499,
        ..Counts::default()
    };
    let asked = Control::Cancel { kill: false };
    let step = controlled(&policy, &deployment, counts, asked, NOW).unwrap();
    (counts.held, counts.skipped) = (0, 700);
    let due = NOW + policy.host_wait_us;
    let waits = ask(&policy, &step.deployment, counts, NOW);
    assert_eq!(
        waits,
        Decision::Wait {
            until_us: Some(due)
        }
    );
    let given_up = ask(&policy, &step.deployment, counts, due);
    assert!(
        matches!(given_up, Decision::Take(step) if step.cause == Cause::HostsGivenUp { batch: 1 })
    );
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_longer_than_was_asked() {
    const DAY: i64 = 86_400 * SECOND;
    let (policy, back) = (policy(), NOW - DAY);
    let (mut deployment, counts) = first_batch(0, 0, 4, 0);
    deployment.batch.finished = true;
    deployment.batch.wait = Timer::Off;
    deployment.batch.delay = Timer::started(NOW, policy.batch_delay_us);
    let Decision::Take(step) = ask(&policy, &deployment, counts, back) else {
        panic!("the delay of a day ahead was waited for");
    };
    assert_eq!((step.cause, step.effects.len()), (Cause::ClockSetBack, 0));
    let due_us = back + policy.batch_delay_us;
    let waits = Decision::Wait {
        until_us: Some(due_us),
    };
    assert_eq!(ask(&policy, &step.deployment, counts, back), waits);
    // Nor does a pause keep more of it.
    let snapshot = Snapshot {
        policy: &policy,
        deployment: &deployment,
        counts,
        rollback: None,
        started: None,
    };
    let paused = control(&snapshot, Control::Pause, back).unwrap().unwrap();
    assert_eq!(
        paused.deployment.batch.delay.left_us(),
        Some(policy.batch_delay_us)
    );
    // The same for hosts that do not start.
    let (deployment, counts) = first_batch(4, 0, 0, 0);
    let Decision::Take(step) = ask(&policy, &deployment, counts, back) else {
        panic!("hosts were waited for until a day ahead");
    };
    assert_eq!(
        step.deployment.batch.wait,
        Timer::started(back, policy.host_wait_us)
    );
}

proptest::proptest! {
    #[test]
    fn no_host_is_looked_for_after_its_place_in_a_rollback(
        started in proptest::collection::vec(proptest::bool::ANY, 1..60),
        size in 1_u64..20,
    ) {
        let total = u64::try_from(started.len()).unwrap();
        let policy = Policy { total, partition: Partition::new(&Sizing::BatchSize(size), total), ..policy() };
        let mut order: Vec<u64> = (0..total).filter(|ordinal| started[usize::try_from(*ordinal).unwrap()]).collect();
        // Stable: within a batch the order stays.
        order.sort_by_key(|ordinal| std::cmp::Reverse(policy.partition.batch_of(*ordinal)));
        let rollback = Rollback { total: u64::try_from(order.len()).unwrap(), ..Default::default() };
        for (place, ordinal) in (0..).zip(&order) {
            for last_of_page in *ordinal..total {
                proptest::prop_assert!(rollback.earliest_ordinal(&policy, last_of_page) <= place);
            }
        }
        if started.iter().all(|started| *started) {
            proptest::prop_assert_eq!(rollback.earliest_ordinal(&policy, 0), total - size.min(total));
        }
    }
}
