//! A deployment over 100,000 hosts: what a decision costs does not grow with them. Prints the cost; asserts none, because
//! machines differ.

use std::time::{Duration, Instant};

use fleetwright_module_rolling::decide::policy::{OnThreshold, Partition, Policy, Sizing};
use fleetwright_module_rolling::decide::state::{End, State};
use fleetwright_module_rolling::decide::{
    Counts, Decision, Deployment, Effect, SetChange, Snapshot, Target, decide,
};

const HOSTS: u64 = 100_000;

#[test]
fn a_deployment_over_100_000_hosts_is_decided_in_small_steps() {
    let policy = Policy {
        total: HOSTS,
        partition: Partition::new(&Sizing::BatchSize(10), HOSTS),
        batch_delay_us: 1,
        host_wait_us: 1_000,
        failure_threshold_pct: 20,
        batch_failure_threshold_pct: Some(100),
        count_unreachable: true,
        on_threshold: OnThreshold::Halt,
        require_approval: None,
        has_rollback: false,
    };
    let mut deployment = Deployment::new();
    let mut counts = Counts {
        total: HOSTS,
        held: HOSTS,
        ..Counts::default()
    };
    let (mut now_us, mut ticks, mut slowest, mut spent) =
        (0, 0_u32, Duration::ZERO, Duration::ZERO);
    while !deployment.state.is_terminal() {
        let snapshot = Snapshot {
            policy: &policy,
            deployment: &deployment,
            counts,
            rollback: None,
            started: None,
        };
        let begun = Instant::now();
        let decision = decide(&snapshot, now_us);
        let took = begun.elapsed();
        (ticks, slowest, spent) = (ticks + 1, slowest.max(took), spent + took);
        now_us += 1;
        match decision {
            Decision::Take(step) => {
                for effect in &step.effects {
                    if let Effect::Set(Target::Deployment, SetChange::Release { from, to }) = effect
                    {
                        (counts.held, counts.queued) =
                            (counts.held - (to - from), counts.queued + (to - from));
                    }
                }
                deployment = step.deployment;
            }
            Decision::Wait { .. } | Decision::GatherStarted => {}
        }
        // One host in ten fails.
        let failed = u64::from(counts.queued == 10);
        (counts.failed, counts.succeeded) = (
            counts.failed + failed,
            counts.succeeded + counts.queued - failed,
        );
        counts.queued = 0;
    }
    assert_eq!(deployment.state, State::Over { end: End::Partial });
    assert_eq!(deployment.batch.number, 10_000);
    let mean = spent / ticks;
    eprintln!("{ticks} decisions over {HOSTS} hosts: mean {mean:?}, slowest {slowest:?}");
}
