//! When failures stop a deployment: of all its hosts, and of the current batch.

use super::*;

#[test]
fn it_halts_with_the_failure_that_passes_the_threshold_and_not_before() {
    // total 10: threshold, failures so far, halted
    for (threshold, failed, halted) in [
        (0, 0, false),
        (0, 1, true),
        (20, 2, false),
        (20, 3, true),
        (29, 3, true),
        (30, 3, false),
        (100, 4, false),
    ] {
        let policy = Policy {
            failure_threshold_pct: threshold,
            ..policy()
        };
        let (deployment, counts) = first_batch(0, 4 - failed, 0, failed);
        let decision = ask(&policy, &deployment, counts, NOW);
        let is_halting =
            matches!(&decision, Decision::Take(step) if step.deployment.state == State::Halting);
        assert_eq!(is_halting, halted, "{failed} of 10 at {threshold} %");
        if halted {
            let cancel = SetChange::Cancel {
                kill: false,
                halted: true,
            };
            assert_eq!(
                step(decision).effects,
                [Effect::Set(Target::Deployment, cancel)]
            );
        }
    }
}

#[test]
fn the_batch_threshold_looks_at_the_current_batch_alone() {
    let policy = Policy {
        failure_threshold_pct: 100,
        batch_failure_threshold_pct: Some(25),
        ..policy()
    };
    let (mut deployment, mut counts) = first_batch(0, 2, 0, 2);
    assert_eq!(
        step(ask(&policy, &deployment, counts, NOW)).cause,
        Cause::BatchFailureThresholdPassed {
            batch: 1,
            failed: 2,
            size: 4,
            threshold_pct: 25
        }
    );
    (counts.running, counts.failed) = (3, 1);
    assert_eq!(
        ask(&policy, &deployment, counts, NOW),
        Decision::Wait { until_us: None }
    );
    // Failures of the batch before do not count.
    deployment.batch.before.failed = 2;
    (counts.running, counts.failed) = (1, 3);
    assert_eq!(
        ask(&policy, &deployment, counts, NOW),
        Decision::Wait { until_us: None }
    );
}

#[test]
fn a_batch_begins_with_the_failures_so_far_behind_it() {
    let policy = Policy {
        failure_threshold_pct: 100,
        batch_failure_threshold_pct: Some(25),
        batch_delay_us: 0,
        ..policy()
    };
    let (deployment, mut counts) = first_batch(0, 0, 3, 1);
    let finished = step(ask(&policy, &deployment, counts, NOW)).deployment;
    let second = step(ask(&policy, &finished, counts, NOW)).deployment;
    assert_eq!((second.batch.number, second.batch.before.failed), (2, 1));
    (counts.held, counts.running, counts.failed) = (2, 3, 2);
    assert_eq!(
        ask(&policy, &second, counts, NOW),
        Decision::Wait { until_us: None }
    );
    (counts.running, counts.failed) = (2, 3);
    assert!(matches!(
        step(ask(&policy, &second, counts, NOW)).cause,
        Cause::BatchFailureThresholdPassed {
            batch: 2,
            failed: 2,
            ..
        }
    ));
}

#[test]
fn unreachable_hosts_count_unless_they_are_left_out() {
    for (count_unreachable, halted) in [(true, true), (false, false)] {
        let policy = Policy {
            count_unreachable,
            failure_threshold_pct: 0,
            ..policy()
        };
        let (deployment, mut counts) = first_batch(0, 3, 0, 1);
        counts.unreachable = 1;
        let decision = ask(&policy, &deployment, counts, NOW);
        assert_eq!(matches!(decision, Decision::Take(_)), halted);
    }
}
