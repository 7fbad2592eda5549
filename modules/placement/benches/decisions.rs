//! How many placements a second are decided over 5,000 nodes, without a server: `cargo bench -p fleetwright-module-placement`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fleetwright_module_placement::placements::decide::{Candidate, Rules, Wanted, place_all};
use fleetwright_module_placement::settings::Strategy;
use uuid::Uuid;

const NODES: u128 = 5_000;
/// Of one batch, as many as the server decides together when many ask at once.
const TOGETHER: usize = 64;
const DURING: Duration = Duration::from_secs(2);

fn main() {
    for strategy in [Strategy::Spread, Strategy::Binpack] {
        let rules = Rules {
            headroom_mb: 512,
            strategy,
        };
        let started = Instant::now();
        let mut decided = 0;
        let mut nodes = nodes();
        while started.elapsed() < DURING {
            let asked = vec![wanted(); TOGETHER];
            let asked: Vec<&Wanted> = asked.iter().collect();
            let chosen = place_all(&asked, &mut nodes, &mut HashMap::new(), &rules);
            if chosen.iter().all(Result::is_ok) {
                decided += TOGETHER;
            } else {
                // They are full.
                nodes = self::nodes();
            }
        }
        let rate = decided as f64 / started.elapsed().as_secs_f64();
        println!("{strategy:?} over {NODES} nodes: {rate:.0} decisions/s");
    }
}

fn wanted() -> Wanted {
    Wanted {
        tenant_id: "bench".to_owned(),
        memory_mb: 1_024,
        vcpus: 1,
        require_kvm: true,
        preferred: None,
        preferred_only: false,
    }
}

/// Each with another load and as much memory as some others.
fn nodes() -> Vec<Candidate> {
    let node = |number: u128| Candidate {
        id: Uuid::from_u128(number),
        is_fresh: true,
        is_schedulable: true,
        is_reserved: number % 10 == 0,
        has_kvm: true,
        free_mb: 65_536 + i64::try_from(number % 97).unwrap_or_default() * 512,
        free_vcpus: 256,
        cpu_load_pct: i64::try_from(number % 100).unwrap_or_default(),
    };
    (0..NODES).map(node).collect()
}
