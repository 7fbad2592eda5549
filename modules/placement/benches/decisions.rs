//! How many placements a second are decided over fleets of growing size: `cargo bench -p
//! fleetwright-module-placement`. Decisions alone, 64 at once as the server makes them; storing them is measured elsewhere.

use std::collections::HashMap;
use std::time::Instant;

use fleetwright_module_placement::nodes::candidates::{Candidate, Candidates};
use fleetwright_module_placement::placements::decide::{Round, Rules, Wanted, place_all};
use fleetwright_module_placement::settings::Strategy;
use uuid::Uuid;

const TOGETHER: usize = 64;
const ROUNDS: u32 = 50;

fn main() {
    for strategy in [Strategy::Spread, Strategy::Binpack] {
        for size in [100_u32, 1_000, 5_000, 10_000] {
            println!(
                "{strategy:?} {size} nodes: {:.0}/s",
                per_second(strategy, size)
            );
        }
    }
}

fn per_second(strategy: Strategy, size: u32) -> f64 {
    let rules = Rules {
        headroom_mb: 512,
        strategy,
    };
    let mut nodes = Candidates::new(strategy);
    for number in 0..size {
        nodes.put(Candidate {
            id: Uuid::from_u128(number.into()),
            is_fresh: !number.is_multiple_of(50),
            is_schedulable: !number.is_multiple_of(40),
            is_reserved: number.is_multiple_of(10),
            has_kvm: !number.is_multiple_of(3),
            free_mb: i64::from(1_024 + (number * 7_919) % 65_536),
            free_vcpus: 256,
            cpu_load_pct: i64::from(number % 100),
            generation: 0,
        });
    }
    let wanted: Vec<Wanted> = (0..TOGETHER)
        .map(|number| Wanted {
            tenant_id: format!("tenant-{}", number % 8),
            memory_mb: 512,
            vcpus: 1,
            require_kvm: number.is_multiple_of(2),
            preferred: None,
            preferred_only: false,
        })
        .collect();
    let asked: Vec<&Wanted> = wanted.iter().collect();
    let began = Instant::now();
    let mut placed = 0_u32;
    for _ in 0..ROUNDS {
        let mut round = Round::new(&nodes);
        let decided = place_all(&asked, &mut round, &mut HashMap::new(), &rules);
        placed += decided
            .iter()
            .map(|one| u32::from(one.is_ok()))
            .sum::<u32>();
    }
    f64::from(placed) / began.elapsed().as_secs_f64()
}
