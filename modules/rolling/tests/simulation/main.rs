//! Seeded simulations of whole deployments: random fleets and policies; hosts that fail, stay away and vanish; hosts
//! deleted; operators who pause, cancel and approve; two controllers that decide on what is stale, write twice, or die
//! before they write. Safety is checked at every step (`world`); then the faults stop and everything must end.

mod choices;
mod fleet;
mod size;
mod world;

use fleetwright_module_rolling::decide::control::Control;
use fleetwright_module_rolling::decide::policy::{
    OnThreshold, Partition, Policy, RequireApproval, Sizing, Wave,
};
use fleetwright_module_rolling::decide::state::{State, Status};
use fleetwright_module_rolling::decide::{Decision, Deployment};
use fleetwright_tests::seed::times;

use choices::Choices;
use fleet::Fate;
use world::World;

/// A few seconds in a debug build; `ROLLING_SEED` runs one.
const SEEDS: u64 = 6_000;
const SECOND_US: i64 = 1_000_000;

fn policy(choices: &mut Choices) -> Policy {
    let total = 1 + choices.below(24);
    let sizing = if choices.one_in(2) {
        Sizing::BatchSize(1 + choices.below(8))
    } else {
        Sizing::Waves(vec![
            Wave::Hosts(1),
            Wave::Percent(1 + choices.below(50)),
            Wave::Percent(60),
            Wave::Percent(100),
        ])
    };
    let threshold = [0, 10, 20, 50, 100];
    Policy {
        total,
        partition: Partition::new(&sizing, total),
        batch_delay_us: choices.of(&[0, 5, 60]) * SECOND_US,
        host_wait_us: choices.of(&[1, 30, 600]) * SECOND_US,
        failure_threshold_pct: choices.of(&threshold),
        batch_failure_threshold_pct: choices.one_in(4).then(|| choices.of(&threshold)),
        count_unreachable: !choices.one_in(4),
        on_threshold: choices.of(&[OnThreshold::Halt, OnThreshold::Halt, OnThreshold::Pause]),
        require_approval: choices.of(&[
            None,
            None,
            Some(RequireApproval::First),
            Some(RequireApproval::Each),
        ]),
        has_rollback: choices.one_in(2),
    }
}

fn fates(total: u64, choices: &mut Choices) -> Vec<Fate> {
    let trouble = choices.of(&[3, 8, 1_000]);
    let mut fate = || {
        if choices.one_in(trouble) {
            choices.of(&[Fate::Fails, Fate::Fails, Fate::Away, Fate::Vanishes])
        } else {
            Fate::Succeeds
        }
    };
    (0..total).map(|_| fate()).collect()
}

/// Everything that can go wrong, for a while.
fn chaos(world: &mut World, choices: &mut Choices) {
    for _step in 0..choices.below(400) {
        let controller = usize::from(choices.one_in(2));
        match choices.below(40) {
            0..=12 => {
                world.stir(choices);
            }
            13..=20 => world.think(controller),
            21..=26 => world.write(controller, false),
            27 => world.write(controller, true),
            // It dies with what it had in mind.
            28 => world.pending[controller] = None,
            29..=32 => world.pass_time(i64::try_from(choices.below(20)).unwrap() * SECOND_US),
            33 => world.pass_time(700 * SECOND_US),
            34 => {
                world.control(Control::Pause);
            }
            35 | 36 => {
                world.control(Control::Resume);
            }
            37 => approve(world, choices),
            38 if choices.one_in(20) => world.delete(choices),
            39 if choices.one_in(30) => {
                let kill = choices.one_in(2);
                world.control(Control::Cancel { kill });
            }
            _nothing => {}
        }
        if let State::Over { .. } = world.deployment.state {
            assert_terminal_is_final(world, choices);
            return;
        }
    }
}

fn approve(world: &mut World, choices: &mut Choices) {
    let wrong = 2 + choices.below(5);
    if let State::AwaitingApproval { batch, .. } = world.deployment.state {
        let allowed = world.control(Control::Approve { batch: wrong });
        assert!(!allowed || wrong == batch, "another batch was approved");
        world.control(Control::Approve { batch });
    } else {
        assert!(
            !world.control(Control::Approve { batch: wrong }),
            "approved when nothing waits"
        );
    }
}

/// No more faults: controllers work, hosts answer or are given up, someone resumes and approves.
fn settle(world: &mut World, choices: &mut Choices) {
    let rounds = 200 + 40 * world.set.hosts.len();
    for _round in 0..rounds {
        let mut moved = false;
        let until_us = loop {
            match world.decide() {
                Decision::Take(_) => {
                    world.think(0);
                    world.write(0, false);
                    moved = true;
                }
                Decision::Wait { until_us } => break until_us,
                Decision::GatherStarted => unreachable!("the world has answered it"),
            }
        };
        match world.deployment.state {
            State::Over { .. } => return assert_terminal_is_final(world, choices),
            State::Paused { .. } => moved |= world.control(Control::Resume),
            State::AwaitingApproval {
                batch,
                cancelling: false,
            } => moved |= world.control(Control::Approve { batch }),
            State::Queued { .. }
            | State::Running
            | State::AwaitingApproval { .. }
            | State::Halting
            | State::Cancelling
            | State::RollingBack { .. } => {}
        }
        moved |= world.stir_all(choices);
        if let Some(until_us) = until_us.filter(|_| !moved) {
            assert!(until_us > world.now_us, "it waits for what is over");
            world.pass_time(until_us - world.now_us);
            moved = true;
        }
        assert!(
            moved,
            "nothing moves: {:?} {:?}",
            world.deployment,
            world.set.counts()
        );
    }
    panic!(
        "not over after {rounds} rounds: {:?} {:?}",
        world.deployment,
        world.set.counts()
    );
}

fn assert_terminal_is_final(world: &mut World, choices: &mut Choices) {
    let before: Deployment = world.deployment.clone();
    for controller in 0..2 {
        world.write(controller, false);
    }
    for asked in [
        Control::Pause,
        Control::Resume,
        Control::Cancel { kill: true },
        Control::Approve { batch: 2 },
    ] {
        assert!(!world.control(asked), "{asked:?} on a terminal deployment");
    }
    world.pass_time(1_000 * SECOND_US);
    world.stir_all(choices);
    assert_eq!(world.decide(), Decision::Wait { until_us: None });
    assert_eq!(world.deployment, before);
}

fn run(seed: u64) -> Status {
    let mut choices = Choices::new(seed);
    let policy = policy(&mut choices);
    let fates = fates(policy.total, &mut choices);
    let mut world = World::new(policy, &fates);
    chaos(&mut world, &mut choices);
    world.pending = [None, None];
    if !world.deployment.state.is_terminal() {
        settle(&mut world, &mut choices);
    }
    world.deployment.state.status()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn deployments_are_safe_under_every_fault_and_end_once_faults_stop() {
    if let Some(seed) = variable("ROLLING_SEED") {
        run(seed);
        return;
    }
    let mut ended = std::collections::HashMap::<Status, u64>::new();
    for seed in 0..times(SEEDS) {
        let status = std::panic::catch_unwind(|| run(seed));
        let status =
            status.unwrap_or_else(|_| panic!("seed {seed}: run it with ROLLING_SEED={seed}"));
        *ended.entry(status).or_default() += 1;
    }
    eprintln!("{ended:?}");
    // A simulation that never sees an outcome checks nothing about it.
    for status in Status::ALL
        .into_iter()
        .filter(|status| status.is_terminal())
    {
        assert!(
            ended.get(&status).is_some_and(|runs| *runs >= 10),
            "{status:?}: {ended:?}"
        );
    }
}
