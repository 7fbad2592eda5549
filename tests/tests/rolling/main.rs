//! Rolling deployments through the real module library: real agents in batches, halts, rollbacks, and servers killed on the
//! way.

mod crash;
mod failpoints;
mod halting;
mod lapse;

use std::path::PathBuf;

use fleetwright_tests::client::{Client, number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

/// Real agents whose names are in order, and what their scripts write down.
struct Site {
    fleet: TestFleet,
    /// In the order of the batches.
    names: Vec<String>,
    notes: PathBuf,
}

/// One line of the notes.
#[derive(Clone, Debug)]
struct Note {
    run: String,
    started: bool,
    at_ns: u64,
    host: String,
}

impl Site {
    fn new(engine: Engine, agents: usize) -> Self {
        Self::of_agents(engine, agents, "")
    }

    /// With more lines of configuration for the agents.
    fn of_agents(engine: Engine, agents: usize, extra: &str) -> Self {
        let mut fleet = Setup::pro().on(engine).start();
        let names: Vec<String> = (0..agents)
            .map(|index| format!("h{index:02}.test"))
            .collect();
        for name in &names {
            let token = fleet.admin.enrollment_token(1, true, &["in"]);
            fleet.add_agent_with(name, &token, extra);
        }
        let notes = fleet.path("notes");
        Self {
            fleet,
            names,
            notes,
        }
    }

    /// Notes its start and its end under a name, and fails on these hosts.
    fn script(&self, run: &str, failing: &[String]) -> String {
        self.script_failing_late(run, failing, 0)
    }

    /// Fails only when as many hosts have started: a failure that halts spares those of its batch that have not.
    fn script_failing_late(&self, run: &str, failing: &[String], starts: usize) -> String {
        let notes = self.notes.display();
        let note = |what: &str| format!("echo {run} {what} $(date +%s%N) \"$0\" >> {notes}");
        let patterns: Vec<String> = failing
            .iter()
            .map(|name| format!("*/agent-{name}/*"))
            .collect();
        let fails = match patterns.as_slice() {
            [] => String::new(),
            some => format!(
                "case \"$0\" in {}) \
                 until [ $(grep -c '^{run} start ' {notes}) -ge {starts} ]; do sleep 0.02; done; \
                 exit 3;; esac; ",
                some.join("|")
            ),
        };
        format!("{}; {}; {fails}true", note("start"), note("end"))
    }

    fn body(&self, run: &str, failing: &[String], more: Value) -> Value {
        Self::body_of(&self.script(run, failing), more)
    }

    fn body_of(script: &str, more: Value) -> Value {
        let mut body = json!({
            "operation_type": "run_script", "parameters": {"script": script}, "selector": {"tags": ["in"]},
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        body
    }

    fn deploy(&self, body: &Value) -> String {
        text(
            &self.fleet.admin.post("/fleet/rolling", body).expect(202),
            "id",
        )
    }

    fn notes(&self, run: &str) -> Vec<Note> {
        let written = std::fs::read_to_string(&self.notes).unwrap_or_default();
        let notes = written.lines().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let host = words[3]
                .split("agent-")
                .nth(1)
                .and_then(|rest| rest.split('/').next());
            Note {
                run: words[0].to_owned(),
                started: words[1] == "start",
                at_ns: words[2].parse().expect("a time"),
                host: host
                    .expect("a script lies in its agent's folder")
                    .to_owned(),
            }
        });
        notes.filter(|note| note.run == run).collect()
    }

    /// Hosts that started, first batch first, each once.
    fn started(&self, run: &str) -> Vec<String> {
        let mut started: Vec<String> = self
            .notes(run)
            .into_iter()
            .filter(|note| note.started)
            .map(|note| note.host)
            .collect();
        let all = started.len();
        started.sort();
        started.dedup();
        assert_eq!(started.len(), all, "{run} started twice on a host");
        started
    }
}

fn view(admin: &Client, id: &str) -> Value {
    let view = admin.get(&format!("/fleet/rolling/{id}")).expect(200);
    let counters =
        ["succeeded", "failed", "running", "queued", "skipped"].map(|name| number(&view, name));
    assert_eq!(
        counters.iter().sum::<u64>(),
        number(&view, "total"),
        "{view}"
    );
    view
}

fn wait_status(admin: &Client, id: &str, status: &str) -> Value {
    wait_for(&format!("{id} to be {status}"), PATIENCE, || {
        let seen = view(admin, id);
        (seen["status"] == status).then_some(seen)
    })
}

fn is_over(view: &Value) -> bool {
    let open = [
        "queued",
        "running",
        "awaiting_approval",
        "paused",
        "rolling_back",
    ];
    !open.contains(&view["status"].as_str().unwrap_or_default())
}

fn wait_over(admin: &Client, id: &str) -> Value {
    wait_for(&format!("{id} to end"), PATIENCE, || {
        let seen = view(admin, id);
        is_over(&seen).then_some(seen)
    })
}

/// `from to cause` of each move.
fn trace(admin: &Client, id: &str) -> Vec<String> {
    let moves = admin.all(&format!("/fleet/rolling/{id}/trace"));
    let told = |entry: &Value| {
        format!(
            "{} {} {}",
            text(entry, "from"),
            text(entry, "to"),
            text(entry, "cause")
        )
    };
    moves.iter().map(told).collect()
}
