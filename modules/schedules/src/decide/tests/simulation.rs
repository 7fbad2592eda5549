//! Whole lives of schedules: servers that read, decide and write in steps, and are killed between any two; a clock that runs,
//! jumps and is set back; owners and licences that come and go. What is promised is checked after every step, and at the end
//! everything that was recorded has come to its end. A seed replays a failure.

use std::collections::BTreeMap;

use fleetwright_tests::seed::times;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// Lives of each kind in an ordinary run.
const SEEDS: u64 = 30;
const STEPS: usize = 1_500;
const START: i64 = 1_767_225_600_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    Launching,
    Launched,
    /// Without an operation.
    Ended,
}

struct Schedule {
    timing: Timing,
    misfire: MisfirePolicy,
    overlap: OverlapPolicy,
    next: Option<Next>,
    computed_at_us: i64,
    generation: u64,
    launches: u64,
}

type Key = (usize, i64);

/// The database and the module that runs operations.
struct World {
    now_us: i64,
    schedules: Vec<Schedule>,
    runs: BTreeMap<Key, Phase>,
    operations: BTreeMap<Key, OperationStatus>,
    may_launch: bool,
    licensed: bool,
}

/// What a server holds in memory between two steps; lost when it is killed.
enum Server {
    Idle,
    Firing(Vec<(usize, u64, i64, Firing)>),
    /// With the phase and the launches that were read.
    Decided(Key, Phase, u64, LaunchStep),
    Launching(Key, Vec<Key>),
    Created(Key),
}

impl World {
    fn new(random: &mut StdRng) -> Self {
        let crons = [
            "* * * * *",
            "*/7 * * * *",
            "0 * * * *",
            "30 2 * * *",
            "15,45 0-6 * * *",
        ];
        let schedules = (0..random.random_range(1..4_u128)).map(|number| {
            let jitter_seconds = *[0, 0, 90, 7_200].choose(random).unwrap();
            let mut timing = timing(crons.choose(random).unwrap(), jitter_seconds);
            timing.schedule_id = Uuid::from_u128(number);
            Schedule {
                next: timing.next_after(START),
                timing,
                misfire: *MisfirePolicy::ALL.choose(random).unwrap(),
                overlap: *OverlapPolicy::ALL.choose(random).unwrap(),
                computed_at_us: START,
                generation: 0,
                launches: 0,
            }
        });
        Self {
            now_us: START,
            schedules: schedules.collect(),
            runs: BTreeMap::new(),
            operations: BTreeMap::new(),
            may_launch: true,
            licensed: true,
        }
    }

    fn read_fires(&self) -> Server {
        let due = self
            .schedules
            .iter()
            .enumerate()
            .filter_map(|(index, schedule)| {
                let armed = Armed {
                    schedule_id: schedule.timing.schedule_id,
                    misfire: schedule.misfire,
                    next: schedule.next?,
                    computed_at_us: schedule.computed_at_us,
                };
                let firing = decide_fire(&schedule.timing, &armed, self.now_us);
                Some((index, schedule.generation, self.now_us, firing))
            });
        Server::Firing(due.collect())
    }

    /// One batch: all of its conditions are about single rows.
    fn write_fires(&mut self, firings: Vec<(usize, u64, i64, Firing)>) {
        for (index, generation, read_us, firing) in firings {
            let schedule = &mut self.schedules[index];
            if schedule.generation != generation {
                continue;
            }
            let next = match firing {
                Firing::Wait => continue,
                Firing::Rearm(next) => next,
                Firing::Record(fire, next) => {
                    assert!(fire.nominal_us <= read_us, "fired before its time");
                    let phase = if fire.skipped {
                        Phase::Ended
                    } else {
                        Phase::Pending
                    };
                    self.runs.entry((index, fire.nominal_us)).or_insert(phase);
                    next
                }
            };
            (schedule.next, schedule.computed_at_us) = (next, read_us);
            schedule.generation += 1;
        }
    }

    fn open(&self, key: Key) -> Vec<Key> {
        let others = self.runs.iter().filter(|(other, phase)| {
            other.0 == key.0 && **other != key && **phase == Phase::Launched
        });
        let open = others.filter(|(other, _)| !self.operations[other].is_terminal());
        open.map(|(other, _)| *other).collect()
    }

    fn read_waiting(&self, random: &mut StdRng) -> Server {
        let mut first: BTreeMap<usize, Key> = BTreeMap::new();
        for waits in [Phase::Launching, Phase::Pending] {
            for (key, _) in self.runs.iter().filter(|(_, phase)| **phase == waits) {
                first.entry(key.0).or_insert(*key);
            }
        }
        let first: Vec<Key> = first.into_values().collect();
        let Some(key) = first.choose(random).copied() else {
            return Server::Idle;
        };
        let open = self.open(key);
        let ids: Vec<Uuid> = open
            .iter()
            .map(|(_, nominal)| Uuid::from_u128(*nominal as u128))
            .collect();
        let step = decide_launch(&LaunchFacts {
            operation: self.operations.get(&key).copied(),
            is_module_away: false,
            launching: self.runs[&key] == Phase::Launching,
            unlicensed: (!self.licensed).then_some("license_expired"),
            may_launch: self.may_launch,
            overlap: self.schedules[key.0].overlap,
            open: &ids,
        });
        Server::Decided(key, self.runs[&key], self.schedules[key.0].launches, step)
    }

    fn write_decision(
        &mut self,
        key: Key,
        (seen, launches): (Phase, u64),
        step: LaunchStep,
    ) -> Server {
        let phase = self.runs.get_mut(&key).unwrap();
        let waits = matches!(phase, Phase::Pending | Phase::Launching);
        match step {
            LaunchStep::Adopt(_) if waits => *phase = Phase::Launched,
            LaunchStep::End(_) if *phase == seen => *phase = Phase::Ended,
            LaunchStep::Adopt(_) | LaunchStep::End(_) | LaunchStep::Wait => {}
            LaunchStep::Launch { cancel } => {
                let taken = &mut self.schedules[key.0].launches;
                if seen == Phase::Pending && *phase == Phase::Pending && *taken == launches {
                    *taken += 1;
                    *phase = Phase::Launching;
                }
                // Read again: somebody else may have decided otherwise, or launched something else.
                let own_turn = u64::from(seen == Phase::Pending);
                if *phase == Phase::Launching && *taken == launches + own_turn {
                    let cancel = cancel.iter().map(|id| (key.0, id.as_u128() as i64));
                    return Server::Launching(key, cancel.collect());
                }
            }
        }
        Server::Idle
    }

    fn create(&mut self, key: Key, cancel: Vec<Key>) -> Server {
        for other in cancel {
            let status = self.operations.get_mut(&other).unwrap();
            if !status.is_terminal() {
                *status = OperationStatus::Cancelled;
            }
        }
        if self.operations.contains_key(&key) {
            return Server::Created(key);
        }
        let goes_on = self
            .operations
            .iter()
            .any(|(other, status)| other.0 == key.0 && !status.is_terminal());
        let overlap = self.schedules[key.0].overlap;
        assert!(
            !goes_on || overlap == OverlapPolicy::Allow,
            "{overlap:?}: two at once"
        );
        self.operations.insert(key, OperationStatus::Queued);
        Server::Created(key)
    }

    fn write_created(&mut self, key: Key) {
        let phase = self.runs.get_mut(&key).unwrap();
        if *phase != Phase::Launched {
            *phase = Phase::Launched;
        }
    }

    fn advance(&mut self, server: Server, random: &mut StdRng) -> Server {
        match server {
            Server::Idle if random.random_bool(0.5) => self.read_fires(),
            Server::Idle => self.read_waiting(random),
            Server::Firing(firings) => {
                self.write_fires(firings);
                Server::Idle
            }
            Server::Decided(key, seen, launches, step) => {
                self.write_decision(key, (seen, launches), step)
            }
            Server::Launching(key, cancel) => self.create(key, cancel),
            Server::Created(key) => {
                self.write_created(key);
                Server::Idle
            }
        }
    }

    fn let_time_pass(&mut self, random: &mut StdRng) {
        self.now_us += match random.random_range(0..100) {
            0 => random.random_range(0..3 * 24 * HOUR),
            1 | 2 => -random.random_range(0..3 * HOUR),
            _ => random.random_range(0..2 * MINUTE),
        };
        let keys: Vec<Key> = self.operations.keys().copied().collect();
        if let Some(key) = keys.choose(random) {
            let status = self.operations.get_mut(key).unwrap();
            *status = match *status {
                OperationStatus::Queued => OperationStatus::Running,
                OperationStatus::Running => OperationStatus::Partial,
                over => over,
            };
        }
    }

    /// What ended without an operation has none, and what has one is not lost.
    fn check(&self) {
        for key in self.operations.keys() {
            assert_ne!(
                self.runs.get(key),
                Some(&Phase::Ended),
                "{key:?} ran and is said not to have"
            );
            assert!(
                self.runs.contains_key(key),
                "{key:?} ran and was never recorded"
            );
        }
    }

    /// Without faults, everything that waits comes to its end, and what becomes due is recorded.
    fn settle(&mut self, random: &mut StdRng) {
        (self.may_launch, self.licensed) = (true, true);
        // Past everything that was armed before the clock was last set back.
        let mut server = Server::Idle;
        for _ in 0..400 {
            server = self.advance(server, random);
        }
        let quiet_from_us = self.now_us;
        for _ in 0..180 {
            self.now_us += MINUTE;
            // A loop of its own looks at what is due: it is not kept from it by launches, as one turn of chance would be.
            for _ in 0..4 {
                if let Server::Firing(firings) = self.read_fires() {
                    self.write_fires(firings);
                }
            }
            for _ in 0..24 {
                server = self.advance(server, random);
            }
        }
        for _ in 0..400 {
            server = self.advance(server, random);
        }
        for (key, phase) in &self.runs {
            assert!(
                matches!(phase, Phase::Launched | Phase::Ended),
                "{key:?} waits for ever: {phase:?}"
            );
        }
        for (index, schedule) in self.schedules.iter().enumerate() {
            let mut at_us = quiet_from_us;
            while let Some(next) = schedule.timing.next_after(at_us) {
                if next.due_us > self.now_us - 2 * MINUTE {
                    break;
                }
                let key = (index, next.nominal_us);
                assert!(self.runs.contains_key(&key), "{key:?} was never recorded");
                at_us = next.nominal_us;
            }
        }
    }
}

fn live(seed: u64, servers: usize, rights_change: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(&mut random);
    let mut servers: Vec<Server> = (0..servers).map(|_| Server::Idle).collect();
    for _ in 0..STEPS {
        let turn = random.random_range(0..servers.len());
        let server = std::mem::replace(&mut servers[turn], Server::Idle);
        // One step in thirty it is killed before it, with what it held.
        if !random.random_bool(1.0 / 30.0) {
            servers[turn] = world.advance(server, &mut random);
        }
        if random.random_bool(0.3) {
            world.let_time_pass(&mut random);
        }
        if rights_change && random.random_bool(0.02) {
            world.may_launch = random.random_bool(0.6);
            world.licensed = random.random_bool(0.6);
        }
        world.check();
    }
    world.settle(&mut random);
    world.check();
}

#[test]
fn one_server_killed_at_any_step_fires_once_and_loses_nothing() {
    for seed in 0..times(SEEDS) {
        live(seed, 1, true);
    }
}

#[test]
fn two_servers_at_once_fire_once_and_lose_nothing() {
    for seed in 0..times(SEEDS) {
        live(1_000 + seed, 2, false);
    }
}
