//! The server killed at random moments while factories claim, spend and report, machines are placed and jobs submitted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetwright_tests::client::{Client, number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::http::{Answer, Request};
use fleetwright_tests::load::agent::Behaviour;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::seed::{Choices, rounds, seed_of};
use fleetwright_tests::wait::{pause, wait_until};
use serde_json::{Value, json};

use super::heard::{Claim, Heard};
use super::stored;

const FACTORIES: u64 = 6;
const NODES: usize = 3;
const HEARTBEAT: Duration = Duration::from_millis(300);
/// Between tries while nobody answers, and where there is nothing to do.
const REST: Duration = Duration::from_millis(20);
/// A debug server on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);
const PRODUCTS: [&str; 2] = ["p", "q"];

/// What all of the load shares.
struct Site {
    admin: Client,
    stop: AtomicBool,
    heard: Mutex<Heard>,
}

impl Site {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard.lock().expect("nobody has panicked"));
    }

    /// How many claims and placements.
    fn answered(&self) -> (usize, usize) {
        let heard = self.heard.lock().expect("nobody has panicked");
        (heard.claims.len(), heard.placements.len())
    }

    /// Asks until somebody answers who has done it or will not; none once it is time to stop.
    fn ask(&self, request: &Request) -> Option<Answer> {
        while self.goes_on() {
            match self.admin.try_send(request) {
                Ok(answer)
                    if !matches!(answer.status, 401 | 402 | 429 | 500..=599)
                        && answer.code() != "in-progress" =>
                {
                    return Some(answer);
                }
                Ok(answer) => assert_ne!(answer.status, 500, "{}", answer.text()),
                Err(_) => {}
            }
            pause(REST);
        }
        None
    }

    fn post(&self, path: &str, body: &Value) -> Option<Answer> {
        self.ask(&self.admin.request("POST", path).json(body))
    }
}

/// Claims, spends and ships, fails, gives back or forgets what it was given, in turn.
fn factory(site: &Site, number_of: u64, mut choices: Choices) -> Option<()> {
    let body = json!({"name": format!("f{number_of}"), "capabilities": [], "seat_limit": 3});
    let made = site.post("/fleet/factories", &body)?;
    let factory_id = text(&made.json(), "id");
    for turn in 0.. {
        let claim_id = format!("c{turn}");
        let body = json!({"factory_id": factory_id, "claim_id": claim_id});
        let answer = site.post("/fleet/jobs/claim", &body)?;
        match answer.status {
            200 => {}
            // Nothing for it; or its answer was lost, and meanwhile its lease.
            204 | 409 => {
                heartbeat(site, &factory_id, &[])?;
                pause(REST);
                continue;
            }
            _ => panic!("{} {}", answer.status, answer.text()),
        }
        let job = answer.json();
        let (id, epoch) = (text(&job, "id"), number(&job, "lease_epoch"));
        let claim = Claim {
            factory_id: factory_id.clone(),
            claim_id,
        };
        let lease = i64::try_from(epoch).expect("small");
        site.note(|heard| heard.claimed(id.clone(), lease, claim));
        spend(site, &text(&job, "product_id"), &id, epoch, &mut choices)?;
        if choices.one_in(4) {
            // It is forgotten, and reaped once its lease is over.
            continue;
        }
        heartbeat(
            site,
            &factory_id,
            &[json!({"job_id": id, "lease_epoch": epoch})],
        )?;
        let end = ["shipped", "shipped", "shipped", "failed", "queued"];
        let end = end[usize::try_from(choices.below(5)).expect("small")];
        for stage in ["building", end] {
            let body = json!({"stage": stage, "lease_epoch": epoch});
            let path = format!("/fleet/jobs/{id}");
            let answer = site.ask(&site.admin.request("PATCH", &path).json(&body))?;
            match answer.status {
                200 if stage == "shipped" => site.note(|heard| {
                    heard.shipped.insert(id.clone());
                }),
                // Repeated after its answer was lost, or it was reaped.
                200 | 409 => {}
                _ => panic!("{} {}", answer.status, answer.text()),
            }
        }
    }
    None
}

fn heartbeat(site: &Site, factory: &str, jobs: &[Value]) -> Option<()> {
    let path = format!("/fleet/factories/{factory}/heartbeat");
    site.post(&path, &json!({"jobs": jobs}))?.expect(200);
    Some(())
}

fn spend(site: &Site, product: &str, job: &str, epoch: u64, choices: &mut Choices) -> Option<()> {
    let micros = choices.below(2_000_000) + 1;
    let key = format!("{job} {epoch}");
    let body = json!({
        "amount_usd": format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000), "key": key, "job_id": job, "lease_epoch": epoch,
    });
    let answer = site.post(&format!("/fleet/budgets/{product}/spend"), &body)?;
    answer.expect(200);
    let amount = i64::try_from(micros).expect("small");
    site.note(|heard| {
        heard.spends.insert((product.to_owned(), key), amount);
    });
    Some(())
}

/// Jobs, some of them with children, and higher ceilings for products that have reached theirs.
fn submitter(site: &Site, mut choices: Choices) -> Option<()> {
    for turn in 0.. {
        let product = PRODUCTS[usize::try_from(choices.below(2)).expect("small")];
        let job = |key: String| json!({"idempotency_key": key, "product_id": product, "estimate_usd": 0.75, "body_md": "Build it.", "max_attempts": 3});
        let mut body = job(format!("job {turn}"));
        if choices.one_in(4) {
            let children: Vec<Value> = (0..3)
                .map(|child| job(format!("job {turn} {child}")))
                .collect();
            body["children"] = json!(children);
        }
        let answer = site.post("/fleet/jobs", &body)?;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        let id = text(&answer.json(), "id");
        site.note(|heard| {
            heard.jobs.insert(id);
        });
        if turn % 8 == 0 {
            let body = json!({"ceiling_usd": 10 + turn, "window": "total"});
            let path = format!("/fleet/budgets/{product}");
            site.ask(&site.admin.request("PUT", &path).json(&body))?;
        }
        pause(REST);
    }
    None
}

/// Places machines, and confirms and releases some of them: never so many that nothing fits for good.
fn placer(site: &Site, mut choices: Choices) -> Option<()> {
    for turn in 0.. {
        let body = json!({"tenant_id": "t", "memory_mb": 200 + choices.below(1_500), "vcpus": 1 + choices.below(3)});
        let request = site.admin.request("POST", "/fleet/placements").json(&body);
        let answer = site.ask(&request.header("idempotency-key", &format!("placement {turn}")))?;
        if answer.status == 409 {
            pause(REST);
            continue;
        }
        let id = text(&answer.expect(201), "id");
        site.note(|heard| {
            heard.placements.insert(id.clone());
        });
        if choices.one_in(3) {
            // It is forgotten, and given up once its lease is over.
            continue;
        }
        let path = format!("/fleet/placements/{id}");
        if choices.one_in(2) {
            site.post(&format!("{path}/confirm"), &json!({}))?;
        }
        site.ask(&site.admin.request("DELETE", &path))?;
    }
    None
}

fn kill_under_load(engine: Engine, name: &str, default_rounds: u64) {
    let mut choices = Choices::new(seed_of(name));
    let mut fleet = Setup::only(&["placement"])
        .on(engine)
        .with("budgets = true")
        .with("limits = { requests_per_second = 0 }")
        .with("placement = { job_lease_seconds = 2, job_reap_seconds = 1, lease_seconds = 2 }")
        .start();
    let mut crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    let token = fleet.admin.enrollment_token(NODES as u64, true, &[]);
    let identities = crowd.enroll(&token, "node", NODES);
    crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
    for product in PRODUCTS {
        let body = json!({"ceiling_usd": 10, "window": "total"});
        fleet
            .admin
            .put(&format!("/fleet/budgets/{product}"), &body)
            .expect(201);
    }
    let site = Site {
        admin: fleet.admin.clone(),
        stop: AtomicBool::new(false),
        heard: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let site = &site;
        let _stopping = Stopping(site);
        for number in 0..FACTORIES {
            let choices = Choices::new(choices.draw());
            scope.spawn(move || factory(site, number, choices));
        }
        let (submits, places) = (Choices::new(choices.draw()), Choices::new(choices.draw()));
        scope.spawn(move || submitter(site, submits));
        scope.spawn(move || placer(site, places));
        for round in 1..=rounds(default_rounds) {
            let before = site.answered();
            wait_until("claims and placements after a kill", PATIENCE, || {
                let now = site.answered();
                now.0 > before.0 && now.1 > before.1
            });
            pause(Duration::from_millis(choices.below(700)));
            // Before the kill: what is heard later may be of the life after it.
            let heard = site.heard.lock().expect("nobody has panicked").clone();
            fleet.server.kill();
            stored::check(&fleet, &heard);
            println!(
                "round {round}: {} jobs, {} claims, {} spends, {} shipped and {} placements were answered",
                heard.jobs.len(),
                heard.claims.len(),
                heard.spends.len(),
                heard.shipped.len(),
                heard.placements.len(),
            );
            fleet.server.launch();
            fleet.server.wait_ready();
        }
    });
    fleet.server.kill();
    stored::check(
        &fleet,
        &site.heard.into_inner().expect("nobody has panicked"),
    );
    drop(crowd);
}

/// Ends the load also where a check has failed.
struct Stopping<'a>(&'a Site);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_server_killed_under_load_keeps_every_promise_of_placement_on_sqlite() {
    kill_under_load(Engine::Sqlite, "placement kills on SQLite", 3);
}

#[test]
fn a_server_killed_under_load_keeps_every_promise_of_placement_on_postgres() {
    kill_under_load(Engine::Postgres, "placement kills on PostgreSQL", 3);
}
