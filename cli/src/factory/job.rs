//! A job as the server gave it to this worker, and as its command finds it.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use crate::output;

#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    /// Of this claim: whoever says an older one holds it no more.
    pub epoch: i64,
    pub product: String,
    pub kind: String,
    /// Counted from 1.
    pub attempt: u64,
    pub claimed_at: Option<String>,
    /// Where an earlier attempt stood.
    pub checkpoint: Option<String>,
    /// All that the server said.
    pub all: Value,
}

impl Job {
    /// `None`: the answer of a claim without an id or an epoch is none.
    pub fn of(claimed: Value) -> Option<Self> {
        let text = |name: &str| claimed.get(name).and_then(Value::as_str).map(str::to_owned);
        let attempts = claimed.get("attempts").and_then(Value::as_u64);
        Some(Self {
            id: text("id")?,
            epoch: claimed.get("lease_epoch")?.as_i64()?,
            product: output::field(&claimed, "product_id"),
            kind: output::field(&claimed, "kind"),
            attempt: attempts.unwrap_or_default().saturating_add(1),
            claimed_at: text("claimed_at"),
            checkpoint: text("checkpoint"),
            all: claimed,
        })
    }

    /// What its command finds in its environment. `folder` is its own and goes with it; lines written to `report` are what it
    /// says.
    pub fn environment(&self, folder: &Path, report: &Path) -> Vec<(&'static str, OsString)> {
        vec![
            ("FLEET_JOB_ID", self.id.clone().into()),
            ("FLEET_JOB_KIND", self.kind.clone().into()),
            ("FLEET_JOB_PRODUCT", self.product.clone().into()),
            (
                "FLEET_JOB_PRIORITY",
                output::field(&self.all, "priority").into(),
            ),
            ("FLEET_JOB_ATTEMPT", self.attempt.to_string().into()),
            ("FLEET_JOB_EPOCH", self.epoch.to_string().into()),
            (
                "FLEET_JOB_CHECKPOINT",
                self.checkpoint.clone().unwrap_or_default().into(),
            ),
            ("FLEET_JOB_DIR", folder.into()),
            ("FLEET_JOB_REPORT", report.into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_read_from_a_claim_and_its_command_finds_it() {
        let claimed = json!({
            "id": "j", "lease_epoch": 3, "product_id": "app", "kind": "build", "priority": "high",
            "attempts": 1, "checkpoint": "half", "claimed_at": "2026-01-01T00:00:00Z",
        });
        let job = Job::of(claimed).expect("a job");
        let environment = job.environment(Path::new("/f"), Path::new("/f/r"));
        let of = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        };
        for (name, value) in [
            ("FLEET_JOB_ID", "j"),
            ("FLEET_JOB_KIND", "build"),
            ("FLEET_JOB_PRODUCT", "app"),
            ("FLEET_JOB_PRIORITY", "high"),
            ("FLEET_JOB_ATTEMPT", "2"),
            ("FLEET_JOB_EPOCH", "3"),
            ("FLEET_JOB_CHECKPOINT", "half"),
            ("FLEET_JOB_DIR", "/f"),
            ("FLEET_JOB_REPORT", "/f/r"),
        ] {
            assert_eq!(of(name).as_deref(), Some(value), "{name}");
        }
        for nothing in [Value::Null, json!({"id": "j"}), json!({"lease_epoch": 1})] {
            assert!(Job::of(nothing).is_none());
        }
    }
}
