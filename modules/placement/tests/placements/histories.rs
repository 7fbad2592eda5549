//! Random lives of a small fleet against what its machines really have: nothing is ever promised that is not there.

use std::collections::{BTreeMap, HashMap};

use fleetwright_module_placement::nodes::node::{Capacity, Heartbeat, Live, Node, Setting};
use fleetwright_module_placement::nodes::registry::Registry;
use fleetwright_module_placement::nodes::store::Saved;
use fleetwright_module_placement::placements::decide::{Round, Rules, Wanted, place_all};
use fleetwright_module_placement::settings::Strategy as Order;
use fleetwright_plugin_api::sdk::testing::host_record;
use fleetwright_plugin_api::sdk::{HostChange, HostId};
use proptest::prelude::*;
use uuid::Uuid;

const TOTAL_MB: i64 = 4_096;
const RULES: Rules = Rules {
    headroom_mb: 512,
    strategy: Order::Spread,
};

/// What happens next; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// So many at once, decided together.
    Place(Vec<i64>),
    /// A VM starts and uses so many parts of a hundred of its memory.
    Start(usize, i64),
    /// Its VM crashes.
    Crash(usize),
    /// An agent says what is so, or all but its VMs.
    Heartbeat(u128, bool),
    /// What heartbeats show is confirmed; what they miss is lost.
    Follow,
    /// Its time is over, if its VM has not started.
    Expire(usize),
    /// Its VM ends and it is given back.
    Release(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(1_i64..1_500, 1..4).prop_map(Step::Place),
        4 => (any::<usize>(), 0_i64..=100).prop_map(|(which, part)| Step::Start(which, part)),
        1 => any::<usize>().prop_map(Step::Crash),
        6 => (1_u128..=3, any::<bool>()).prop_map(|(node, tells)| Step::Heartbeat(node, tells)),
        3 => Just(Step::Follow),
        1 => any::<usize>().prop_map(Step::Expire),
        1 => any::<usize>().prop_map(Step::Release),
    ]
}

struct World {
    registry: Registry,
    /// By placement: its node, and what its VM uses, if it runs.
    placed: BTreeMap<Uuid, (Uuid, Option<i64>)>,
    next: u128,
    now_us: i64,
}

impl World {
    fn new() -> Self {
        let mut registry = Registry::new(RULES.strategy, 4.0);
        for number in 1..=3 {
            let record = host_record(HostId(Uuid::from_u128(number)));
            registry.apply(&HostChange::Upsert(record.into()));
        }
        let mut world = Self {
            registry,
            placed: BTreeMap::new(),
            next: 1_000,
            now_us: 0,
        };
        for number in 1..=3 {
            world.hear(Uuid::from_u128(number), true);
        }
        world
    }

    fn which(&self, number: usize) -> Option<Uuid> {
        let most = self.placed.len().max(1);
        self.placed.keys().nth(number % most).copied()
    }

    fn hear(&mut self, host_id: Uuid, tells: bool) {
        self.now_us += 1;
        let here = self.placed.iter().filter(|(_, (node, _))| *node == host_id);
        let running = here.filter_map(|(id, (_, resident))| Some((id.to_string(), (*resident)?)));
        let running: BTreeMap<String, i64> = running.collect();
        let capacity = Capacity {
            memory_total_mb: TOTAL_MB,
            memory_available_mb: TOTAL_MB - running.values().sum::<i64>(),
            cpu_count: 64,
            vms: tells.then_some(running),
            ..Capacity::default()
        };
        self.registry.hear(Heartbeat {
            host_id,
            heard_lease_us: self.now_us,
            heard_at_us: self.now_us,
            capacity,
        });
    }

    fn place(&mut self, memory_mb: &[i64]) {
        let wanted: Vec<Wanted> = memory_mb
            .iter()
            .map(|memory_mb| Wanted {
                tenant_id: "a".to_owned(),
                memory_mb: *memory_mb,
                vcpus: 1,
                require_kvm: false,
                preferred: None,
                preferred_only: false,
            })
            .collect();
        let asked: Vec<&Wanted> = wanted.iter().collect();
        let mut round = Round::new(self.registry.candidates());
        let decided = place_all(&asked, &mut round, &mut HashMap::new(), &RULES);
        for (wanted, decided) in wanted.iter().zip(decided) {
            let Ok(chosen) = decided else { continue };
            self.next += 1;
            let id = Uuid::from_u128(self.next);
            let live = Live {
                id,
                tenant_id: wanted.tenant_id.clone(),
                vm_id: id.to_string(),
                memory_mb: wanted.memory_mb,
                vcpus: wanted.vcpus,
                confirmed: false,
                revision: 1,
                seen: false,
                misses: 0,
            };
            self.committed(chosen.node_id, |node| {
                node.live.insert(id, live);
            });
            self.placed.insert(id, (chosen.node_id, None));
        }
    }

    fn end(&mut self, id: Uuid) {
        if let Some((node_id, _)) = self.placed.remove(&id) {
            self.committed(node_id, |node| {
                node.live.remove(&id);
            });
        }
    }

    fn committed(&mut self, node_id: Uuid, change: impl FnOnce(&mut Node)) {
        let generation = self.registry.node(node_id).unwrap().generation;
        self.registry.committed(node_id, generation, change);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Place(memory_mb) => self.place(memory_mb),
            Step::Start(number, part) => {
                let Some(id) = self.which(*number) else {
                    return;
                };
                let (node_id, resident) = self.placed.get_mut(&id).unwrap();
                let node = self.registry.node(*node_id).unwrap();
                *resident = Some(node.live[&id].memory_mb * part / 100);
            }
            Step::Crash(number) => {
                if let Some(id) = self.which(*number) {
                    self.placed.get_mut(&id).unwrap().1 = None;
                }
            }
            Step::Heartbeat(number, tells) => self.hear(Uuid::from_u128(*number), *tells),
            Step::Follow => {
                for (node_id, id) in self.registry.due() {
                    let live = &self.registry.node(node_id).unwrap().live[&id];
                    let (is_confirmed, revision) = (live.confirmed, live.revision);
                    // One that has started again meanwhile is lost all the same; whoever runs it is told so.
                    if is_confirmed {
                        self.end(id);
                    } else {
                        self.committed(node_id, |node| {
                            let live = node.live.get_mut(&id).unwrap();
                            (live.confirmed, live.misses, live.revision) = (true, 0, revision + 1);
                        });
                    }
                }
            }
            Step::Expire(number) => {
                let idle = self.which(*number).filter(|id| self.placed[id].1.is_none());
                if let Some(id) = idle {
                    self.end(id);
                }
            }
            Step::Release(number) => {
                if let Some(id) = self.which(*number) {
                    self.end(id);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_history_promises_what_is_not_there(steps in proptest::collection::vec(any_step(), 0..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            for number in 1..=3 {
                let node = world.registry.node(Uuid::from_u128(number)).unwrap();
                let promised: i64 = node.live.values().map(|live| live.memory_mb).sum();
                prop_assert!(promised + RULES.headroom_mb <= TOTAL_MB || promised == 0, "{promised} on {number} after {step:?}");
            }
            // What is kept of the sum is the sum.
            let totals = world.registry.totals();
            let held: i64 = (1..=3).map(|number| world.registry.node(Uuid::from_u128(number)).unwrap().held_mb()).sum();
            prop_assert_eq!((totals.held_mb, totals.placements), (held, i64::try_from(world.placed.len()).unwrap()));
        }
    }
}

#[test]
fn what_was_read_before_its_commit_was_told_counts_once() {
    let mut world = World::new();
    let node_id = Uuid::from_u128(1);
    let live = |id: u128| Live {
        id: Uuid::from_u128(id),
        tenant_id: "t".to_owned(),
        vm_id: id.to_string(),
        memory_mb: 100,
        vcpus: 1,
        confirmed: false,
        revision: 1,
        seen: false,
        misses: 0,
    };
    let saved = |generation| Saved {
        host_id: node_id,
        setting: Setting::default(),
        generation,
        changed: generation,
        capacity: None,
        saved_at_us: None,
    };
    // Committed on generation 0, and read by the loop before whoever committed it says so.
    world.registry.reload(&saved(1), vec![live(7)]);
    world.registry.committed(node_id, 0, |node| {
        node.live.insert(Uuid::from_u128(7), live(7));
    });
    let known = world.registry.node(node_id).unwrap();
    assert_eq!((known.generation, known.live.len()), (1, 1));
    // The other way round.
    world.registry.committed(node_id, 1, |node| {
        node.live.insert(Uuid::from_u128(8), live(8));
    });
    world.registry.reload(&saved(2), vec![live(7), live(8)]);
    let known = world.registry.node(node_id).unwrap();
    assert_eq!((known.generation, known.live.len()), (2, 2));
}
