//! The server, and then its agents, killed at random moments while bulk operations run: nothing acknowledged is lost, nothing
//! runs twice, nothing outside the selection runs, limits hold, and everything ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleetwright_tests::client::{Client, is_terminal, number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Request;
use fleetwright_tests::seed::{Choices, rounds, seed_of};
use fleetwright_tests::wait::{pause, wait_for};
use serde_json::{Value, json};

use crate::ledger::{Ledger, Run, overlap};

const HOSTS: usize = 5;
/// A start lease that nobody answers for runs out after 90 s.
const PATIENCE: Duration = Duration::from_secs(150);

struct Trial {
    fleet: TestFleet,
    ledger: Ledger,
    choices: Choices,
    /// Host id → name.
    hosts: BTreeMap<String, String>,
    /// What each ended operation said of itself and its hosts.
    ended: BTreeMap<String, (Value, Vec<Value>)>,
}

/// One operation of the loop.
struct Operation {
    number: u64,
    id: String,
    limit: u64,
    cancelled: bool,
    /// When a cancel was acknowledged, if one was, on the clock of the ledger.
    cancel_acknowledged_ns: Option<u64>,
}

impl Trial {
    fn new(engine: Engine, seed: u64) -> Self {
        let mut fleet = Setup::pro().on(engine).start();
        let mut hosts = BTreeMap::new();
        for index in 0..HOSTS {
            let name = format!("h{index}.test");
            hosts.insert(fleet.add_agent(&name, &["in"]), name);
        }
        // One that is never selected.
        fleet.add_agent("outside.test", &["out"]);
        let ledger = Ledger::new(fleet.path("ledger"));
        Self {
            fleet,
            ledger,
            choices: Choices::new(seed),
            hosts,
            ended: BTreeMap::new(),
        }
    }

    /// Starts an operation, kills the server somewhere on the way, once or twice, and checks what came of it.
    fn round(&mut self, number: u64) {
        let limit = self.choices.below(4);
        let body = json!({
            "operation_type": "run_script",
            "parameters": {"script": self.ledger.script(number, 20 + self.choices.below(120))},
            "selector": {"tags": ["in"]},
            "max_concurrency": limit,
        });
        let started = Instant::now();
        // Some kills hit while the request is under way.
        let kill_after = self.choices.one_in(3).then(|| self.choices.below(30_000));
        let answered = match kill_after {
            Some(microseconds) => self.start_and_kill(number, &body, microseconds),
            None => self.start(number, &body),
        };
        let mut operation = Operation {
            number,
            id: String::new(),
            limit,
            cancelled: false,
            cancel_acknowledged_ns: None,
        };
        let first = self.choices.below(350);
        if let Some(id) = &answered {
            operation.id.clone_from(id);
            if self.choices.one_in(5) {
                self.cancel(&mut operation);
            }
        }
        pause(Duration::from_millis(first));
        self.fleet.server.restart();
        if answered.is_some() {
            // I1: what was acknowledged is there.
            let found = self
                .fleet
                .admin
                .get(&format!("/fleet/bulk/{}", operation.id));
            assert_eq!(
                found.status,
                200,
                "an acknowledged operation is lost: {}",
                found.text()
            );
        }
        // Asked again with the same key, the answer is the same operation.
        let again = self.start(number, &body).expect("the server is up");
        if let Some(id) = &answered {
            assert_eq!(&again, id, "the key made a second operation");
        }
        operation.id = again;
        if self.choices.one_in(3) {
            pause(Duration::from_millis(self.choices.below(600)));
            self.fleet.server.restart();
        }
        let up = started.elapsed();
        self.bounce_agents();
        self.check(&operation);
        eprintln!(
            "round {number}: up after {up:.1?}, ended after {:.1?}",
            started.elapsed()
        );
    }

    /// Kills and starts every agent: they would wait out a back-off that grows with each lost connection, and an agent
    /// that is killed must not start anything twice either.
    fn bounce_agents(&mut self) {
        for agent in &mut self.fleet.agents {
            agent.kill();
            agent.run();
        }
    }

    fn request(&self, number: u64, body: &Value) -> Request {
        let request = self.fleet.admin.request("POST", "/fleet/bulk");
        let key = format!("operation-{number}");
        request.header("idempotency-key", &key).json(body)
    }

    /// `None` if the answer was lost.
    fn start(&self, number: u64, body: &Value) -> Option<String> {
        posted(&self.fleet.admin, &self.request(number, body))
    }

    fn start_and_kill(&mut self, number: u64, body: &Value, microseconds: u64) -> Option<String> {
        let (asking, request) = (self.fleet.admin.clone(), self.request(number, body));
        std::thread::scope(|scope| {
            let answer = scope.spawn(move || posted(&asking, &request));
            pause(Duration::from_micros(microseconds));
            self.fleet.server.restart();
            answer.join().expect("asking does not panic")
        })
    }

    fn cancel(&mut self, operation: &mut Operation) {
        let path = format!("/fleet/bulk/{}/cancel", operation.id);
        let answer = self.fleet.admin.post(&path, &json!({}));
        if answer.status == 200 {
            operation.cancelled = true;
            operation.cancel_acknowledged_ns = Some(now_ns());
        } else {
            assert_eq!(answer.code(), "invalid-transition", "{}", answer.text());
        }
    }

    fn check(&mut self, operation: &Operation) {
        let admin = &self.fleet.admin;
        let path = format!("/fleet/bulk/{}", operation.id);
        let number = operation.number;
        // I3, and at every look the counters sum up.
        let done = wait_for(&format!("operation {number} to end"), PATIENCE, || {
            let view = admin.get(&path).expect(200);
            assert_sums_up(&view);
            is_terminal(&view).then_some(view)
        });
        let rows = admin.bulk_hosts(&operation.id);
        let runs = self.ledger.runs(number);
        // I7: the frozen set and nobody else.
        let mut selected: Vec<String> = rows.iter().map(|row| text(row, "host_id")).collect();
        selected.sort();
        assert_eq!(selected, self.hosts.keys().cloned().collect::<Vec<_>>());
        assert!(
            !runs.contains_key("outside.test"),
            "a host outside the selection ran it"
        );
        for row in &rows {
            let name = &self.hosts[&text(row, "host_id")];
            let run = runs.get(name).copied().unwrap_or_default();
            check_row(number, name, row, run, operation.cancelled);
        }
        // I6.
        if operation.limit > 0 {
            let most = overlap(&runs);
            assert!(
                most as u64 <= operation.limit,
                "operation {number}: {most} at once, {} allowed",
                operation.limit
            );
        }
        // I8: after the acknowledgement only what had been delivered starts.
        if let Some(acknowledged) = operation.cancel_acknowledged_ns {
            let late = runs
                .values()
                .filter(|run| run.started_ns > acknowledged)
                .count() as u64;
            let delivered = if operation.limit == 0 {
                HOSTS as u64
            } else {
                operation.limit
            };
            assert!(
                late <= delivered,
                "operation {number}: {late} started after the cancel"
            );
        }
        self.ended
            .insert(operation.id.clone(), (stable(&done), rows));
    }

    /// I4 and I12, after every crash there was.
    fn check_history(&self) {
        for (id, (done, rows)) in &self.ended {
            let now = self
                .fleet
                .admin
                .get(&format!("/fleet/bulk/{id}"))
                .expect(200);
            assert_eq!(&stable(&now), done, "a terminal operation changed");
            assert_eq!(
                &self.fleet.admin.bulk_hosts(id),
                rows,
                "a terminal row changed"
            );
        }
        let verified = self.fleet.admin.get("/audit/verify").expect(200);
        assert!(
            verified["valid"] == true || verified["ok"] == true,
            "{verified}"
        );
        let created = self
            .fleet
            .admin
            .all("/audit")
            .iter()
            .filter(|row| row["action"] == "bulk.create")
            .count();
        assert_eq!(created, self.ended.len(), "one mutation, one audit row");
    }
}

fn posted(client: &Client, request: &Request) -> Option<String> {
    let answer = client.try_send(request).ok()?;
    assert_eq!(answer.status, 202, "{}", answer.text());
    Some(text(&answer.json(), "id"))
}

#[track_caller]
fn assert_sums_up(view: &Value) {
    let sum: u64 = ["succeeded", "failed", "running", "queued", "skipped"]
        .iter()
        .map(|name| number(view, name))
        .sum();
    assert_eq!(sum, number(view, "total"), "{view}");
}

/// I2, and a result that says what happened.
fn check_row(number: u64, name: &str, row: &Value, run: Run, cancelled: bool) {
    let what = format!("operation {number} on {name}: {run:?}, {row}");
    assert!(run.starts <= 1, "started twice: {what}");
    match row["status"].as_str() {
        Some("succeeded") => assert_eq!((run.starts, run.ends), (1, 1), "{what}"),
        Some("skipped") => {
            assert_eq!(run.starts, 0, "{what}");
            assert!(cancelled && row["reason"] == "cancelled", "{what}");
        }
        _ => panic!("{what}"),
    }
}

/// What must not change any more.
fn stable(view: &Value) -> Value {
    let mut view = view.clone();
    if let Some(fields) = view.as_object_mut() {
        fields.retain(|name, _| {
            [
                "id",
                "status",
                "total",
                "succeeded",
                "failed",
                "running",
                "queued",
                "skipped",
                "percent_complete",
                "finished_at",
                "digest",
            ]
            .contains(&name.as_str())
        });
    }
    view
}

/// The wall clock, as `date` in the scripts reads it.
fn now_ns() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with what `date` wrote in a script"
    )]
    let now = std::time::SystemTime::now();
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn crash_loop(engine: Engine, name: &str, default_rounds: u64) {
    let seed = seed_of(name);
    let mut trial = Trial::new(engine, seed);
    let started = Instant::now();
    let count = rounds(default_rounds);
    for number in 1..=count {
        trial.round(number);
    }
    trial.check_history();
    eprintln!("{name}: {count} rounds in {:?}", started.elapsed());
}

#[test]
fn a_server_killed_at_random_keeps_every_promise_on_sqlite() {
    crash_loop(Engine::Sqlite, "crash loop on SQLite", 12);
}

#[test]
fn a_server_killed_at_random_keeps_every_promise_on_postgres() {
    crash_loop(Engine::Postgres, "crash loop on PostgreSQL", 6);
}
