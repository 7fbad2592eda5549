//! Reproducible choices for fault loops: a small generator whose seed a failure prints.

/// SplitMix64, from Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Clone, Debug)]
pub struct Choices {
    state: u64,
}

impl Choices {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; the bias is far below what a fault loop could notice.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// `FLEETWRIGHT_TEST_SEED`, or a fresh one; printed, so that a failure can be run again.
pub fn seed_of(name: &str) -> u64 {
    let given = std::env::var("FLEETWRIGHT_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let random = uuid::Uuid::new_v4().as_u128();
        // Short enough to type.
        (random % 1_000_000_000) as u64
    });
    eprintln!("{name}: FLEETWRIGHT_TEST_SEED={seed}");
    seed
}

/// `FLEETWRIGHT_TEST_ROUNDS`, or as many as this run is long.
pub fn rounds(ordinary: u64) -> u64 {
    number("FLEETWRIGHT_TEST_ROUNDS").unwrap_or_else(|| times(ordinary))
}

/// How often a loop goes round: `FLEETWRIGHT_TEST_TIMES` as often as in an ordinary run, which is set by `cargo xtask
/// soak`.
pub fn times(ordinary: u64) -> u64 {
    ordinary * number("FLEETWRIGHT_TEST_TIMES").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_again() {
        let run = |seed| {
            let mut choices = Choices::new(seed);
            [choices.draw(), choices.below(10), choices.below(10)]
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        // The published first output for seed 0.
        assert_eq!(Choices::new(0).draw(), 0xE220_A839_7B1D_CDAF);
    }
}
