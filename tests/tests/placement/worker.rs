//! A worker of the built command line, and jobs for it.

use std::path::PathBuf;
use std::process::Command;

use fleetwright_tests::fleet::TestFleet;
use fleetwright_tests::process::{Process, processes_of};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::data;

/// Does a job by its kind. One of kind `long` says where it stands and goes on for ever; with a checkpoint it is done.
const SCRIPT: &str = r#"
case "$FLEET_JOB_KIND" in
ship)
    grep -q '"body_md":"do it"' || { echo "no body" >&2; exit 9; }
    test -n "$FLEETWRIGHT_TOKEN" && { echo "a token" >&2; exit 9; }
    echo '{"stage":"testing","artifact":{"name":"app.tar","bytes":7}}' > "$FLEET_JOB_REPORT"
    echo '{"spend_usd":"0.25"}' > "$FLEET_JOB_REPORT"
    ;;
fail)
    echo '{"spend_usd":"0.25"}' >> "$FLEET_JOB_REPORT"
    echo "no such branch" >&2
    exit 3
    ;;
long)
    test "$FLEET_JOB_CHECKPOINT" = half && exit 0
    echo '{"checkpoint":"half"}' > "$FLEET_JOB_REPORT"
    sleep 600 &
    echo $! > "$MARKS/$FLEET_JOB_ID"
    wait
    ;;
slow)
    echo '{"checkpoint":"begun"}' > "$FLEET_JOB_REPORT"
    while ! test -e "$MARKS/go"; do sleep 0.1; done
    ;;
esac
"#;

pub struct Worker {
    pub process: Process,
    marks: PathBuf,
}

impl Worker {
    pub fn start(fleet: &TestFleet, name: &str, more: &[&str]) -> Self {
        let marks = marks(fleet);
        let log = fleet.path(&format!("{name}.log"));
        let command = command(
            fleet,
            &[&["--name", name, "--heartbeat", "1"], more].concat(),
        );
        let process = Process::spawn(name, &command, &log);
        Self { process, marks }
    }

    /// Whether what a job of kind `long` has started still runs.
    pub fn runs(&self, job_id: &str) -> bool {
        let pid = std::fs::read_to_string(self.marks.join(job_id)).unwrap_or_default();
        let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.trim()));
        command_line.is_ok_and(|line| line.starts_with(b"sleep\0"))
    }

    /// Lets jobs of kind `slow` end.
    pub fn go(&self) {
        std::fs::write(self.marks.join("go"), "").expect("the test's folder can be written");
    }
}

/// `factory run` with the script.
pub fn command(fleet: &TestFleet, words: &[&str]) -> Command {
    let mut command = fleet.command_line();
    command
        .env("MARKS", marks(fleet))
        .args(["factory", "run"])
        .args(words)
        .args(["--", "sh", "-c", SCRIPT]);
    command
}

fn marks(fleet: &TestFleet) -> PathBuf {
    let folder = fleet.path("marks");
    std::fs::create_dir_all(&folder).expect("the test's folder can be written");
    folder
}

/// Its id.
pub fn submit(fleet: &TestFleet, kind: &str, more: &[&str]) -> String {
    let words = ["jobs", "submit", "--kind", kind, "--body", "do it"];
    let made = data(fleet, &[&words[..], more].concat());
    fleetwright_tests::client::text(&made, "id")
}

pub fn job(fleet: &TestFleet, id: &str) -> Value {
    data(fleet, &["jobs", "show", id])
}

#[track_caller]
pub fn wait_stage(fleet: &TestFleet, id: &str, stage: &str) -> Value {
    wait_job(fleet, id, &format!("to be {stage}"), |job| {
        job["stage"] == stage
    })
}

#[track_caller]
pub fn wait_job(fleet: &TestFleet, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("job {id} {what}"), PATIENCE, || {
        let job = fleet.admin.get(&format!("/fleet/jobs/{id}")).expect(200);
        holds(&job).then_some(job)
    })
}

/// Its holder has said where it stands.
#[track_caller]
pub fn wait_checkpoint(fleet: &TestFleet, id: &str, checkpoint: &str) {
    wait_job(fleet, id, "to have a checkpoint", |job| {
        job["stage"] == "building" && job["checkpoint"] == checkpoint
    });
}

/// The types of what happened to it, oldest first.
pub fn events(job: &Value) -> Vec<String> {
    let events = job["events"].as_array().expect("a job has events");
    let mut kinds: Vec<String> = events
        .iter()
        .map(|event| fleetwright_tests::client::text(event, "type"))
        .collect();
    kinds.reverse();
    kinds
}

/// Nothing of a job's folder is left.
#[track_caller]
pub fn assert_tidy(fleet: &TestFleet, worker: &Worker, job_id: &str) {
    assert!(!worker.runs(job_id), "what it started still runs");
    assert_eq!(processes_of(&marks(fleet)), Vec::<u32>::new());
}

/// For a budget.
pub fn ceiling(fleet: &TestFleet, product: &str, usd: &str) {
    let budget = data(
        fleet,
        &["budgets", "set", product, usd, "--window", "total"],
    );
    assert_eq!(budget["product_id"], json!(product));
}
