//! `[placement]`: what the module that places work goes by. The server hands it on and only sees that it is in range.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// From a second to a day: what is stale or leased for longer is better said by a person.
const SECONDS: RangeInclusive<u32> = 1..=24 * 3600;
/// No machine has as much memory.
const HEADROOM_MB_MAX: u64 = 1 << 40;
/// Below 1, processors are kept free.
const CPU_OVERCOMMIT: RangeInclusive<f64> = 0.1..=100.0;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// A node that was silent for longer gets nothing.
    pub node_stale_seconds: u32,
    /// Memory of every node that nothing is placed on, in mebibytes.
    pub headroom_mb: u64,
    /// How many processors are given away for each that a node has.
    pub cpu_overcommit: f64,
    pub strategy: Strategy,
    /// How long capacity is held for what has not been started.
    pub lease_seconds: u32,
    /// How long a job is its factory's without a word.
    pub job_lease_seconds: u32,
    /// A factory that was silent for longer gets no job.
    pub factory_stale_seconds: u32,
    /// Between two looks for jobs whose lease has run out.
    pub job_reap_seconds: u32,
}

/// Which of several nodes with room.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The one with the most room.
    #[default]
    Spread,
    /// The one with the least.
    Binpack,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            node_stale_seconds: 35,
            headroom_mb: 512,
            cpu_overcommit: 4.0,
            strategy: Strategy::default(),
            lease_seconds: 120,
            job_lease_seconds: 900,
            factory_stale_seconds: 90,
            job_reap_seconds: 30,
        }
    }
}

impl Placement {
    /// What is out of range, in a line.
    pub(super) fn check(&self) -> Result<(), String> {
        let refuse = |text: &str| Err(text.to_owned());
        for (name, seconds) in [
            ("node_stale_seconds", self.node_stale_seconds),
            ("lease_seconds", self.lease_seconds),
            ("job_lease_seconds", self.job_lease_seconds),
            ("factory_stale_seconds", self.factory_stale_seconds),
            ("job_reap_seconds", self.job_reap_seconds),
        ] {
            if !SECONDS.contains(&seconds) {
                return refuse(&format!(
                    "placement.{name} must be between 1 and 86400 (a day)"
                ));
            }
        }
        if self.headroom_mb > HEADROOM_MB_MAX {
            return refuse("placement.headroom_mb is more than any machine has");
        }
        // What is no number is in no range.
        if !CPU_OVERCOMMIT.contains(&self.cpu_overcommit) {
            return refuse("placement.cpu_overcommit must be between 0.1 and 100");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = variables.iter().map(owned);
        Config::from_parts(Path::new("server.toml"), text, variables)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_switch_is_any_of_its_words_and_nothing_else() {
        for (word, on) in [
            ("1", true),
            ("true", true),
            ("YES", true),
            ("On", true),
            (" on\n", true),
            ("0", false),
            ("False", false),
            ("no", false),
            ("OFF", false),
            ("", false),
        ] {
            let config = load("", &[("FLEET_PREEMPTION", word)]).expect(word);
            assert_eq!((config.preemption, config.budgets), (on, false), "{word}");
            let config = load("preemption = true", &[("FLEET_BUDGETS", word)]).expect(word);
            assert_eq!((config.preemption, config.budgets), (true, on), "{word}");
            let config = load("budgets = true", &[("FLEET_BUDGETS", word)]).expect(word);
            assert_eq!(config.budgets, on, "{word}");
        }
        for word in ["2", "y", "enabled", "true,false", "-1", "ja"] {
            let refused = load("", &[("FLEET_BUDGETS", word)]).expect_err(word);
            assert!(refused.starts_with("FLEET_BUDGETS: "), "{refused}");
            assert_eq!(refused.lines().count(), 1, "{refused}");
        }
        let config = load("", &[("FLEETWRIGHT_BUDGETS", "true"), ("FLEET_DIST", "x")]);
        assert!(config.expect("valid").budgets);
        assert!(load("preemption = \"yes\"", &[]).is_err());
    }

    #[test]
    fn placement_is_in_range_and_modules_are_told_it() {
        let variables = [
            ("FLEETWRIGHT_PLACEMENT__CPU_OVERCOMMIT", "1.5"),
            ("FLEETWRIGHT_PLACEMENT__STRATEGY", "binpack"),
            ("FLEETWRIGHT_PLACEMENT__LEASE_SECONDS", "7"),
            ("FLEET_PREEMPTION", "yes"),
        ];
        let config = load("[placement]\nheadroom_mb = 0", &variables).expect("valid");
        let told = serde_json::to_value(config.for_modules()).expect("JSON");
        let expected = serde_json::json!({
            "preemption": true,
            "budgets": false,
            "placement": {
                "node_stale_seconds": 35, "headroom_mb": 0, "cpu_overcommit": 1.5, "strategy": "binpack", "lease_seconds": 7,
                "job_lease_seconds": 900, "factory_stale_seconds": 90, "job_reap_seconds": 30,
            },
        });
        assert_eq!(told, expected);
        let shown = config.shown();
        assert!(shown.contains("preemption = true"), "{shown}");
        let again = load(&shown, &[]).expect("shown settings are settings");
        assert_eq!(again.for_modules(), config.for_modules());
        for bad in [
            "node_stale_seconds = 0",
            "lease_seconds = 86401",
            "job_lease_seconds = -1",
            "factory_stale_seconds = 0",
            "job_reap_seconds = 0",
            "headroom_mb = -1",
            "headroom_mb = 9223372036854775807",
            "cpu_overcommit = 0",
            "cpu_overcommit = nan",
            "cpu_overcommit = inf",
            "strategy = \"tight\"",
            "lease_secs = 5",
        ] {
            let refused = load(&format!("[placement]\n{bad}"), &[]);
            assert!(refused.is_err(), "{bad}");
        }
        let whole = load("[placement]\ncpu_overcommit = 2", &[]).expect("a whole number");
        assert!((whole.placement.cpu_overcommit - 2.0).abs() < f64::EPSILON);
    }
}
