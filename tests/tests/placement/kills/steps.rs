//! The life of some jobs, a budget and a placement through servers none of which outlives its next write: each life ends by
//! itself at the module's next commit, in turn just before and just after it. So every step is hit both ways, and its client
//! repeats it until it is answered.

use std::time::{Duration, Instant};

use fleetwright_tests::client::{Client, number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::http::Request;
use fleetwright_tests::load::agent::Behaviour;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::wait::{PATIENCE, pause, wait_for};
use serde_json::{Value, json};

use super::heard::Heard;
use super::stored;

/// Beyond what the steps need: two for each, and some for what the server does by itself.
const LIVES_MAX: usize = 120;
/// For agents, before they come back to a server that is new.
const HEARTBEAT: Duration = Duration::from_millis(300);

/// What is known so far.
#[derive(Default)]
struct Known {
    factory: String,
    job: String,
    epoch: u64,
    placement: String,
}

/// What is asked, and what is learnt from its answer.
struct Step {
    name: &'static str,
    ask: fn(&Client, &Known) -> Request,
    learn: fn(&mut Known, &Value),
}

const NOTHING: fn(&mut Known, &Value) = |_, _| {};

fn step(
    name: &'static str,
    ask: fn(&Client, &Known) -> Request,
    learn: fn(&mut Known, &Value),
) -> Step {
    Step { name, ask, learn }
}

/// The change of a job by its holder.
fn report(admin: &Client, known: &Known, stage: &str) -> Request {
    let path = format!("/fleet/jobs/{}", known.job);
    let body = json!({"stage": stage, "lease_epoch": known.epoch});
    admin.request("PATCH", &path).json(&body)
}

fn claim(admin: &Client, known: &Known, name: &str) -> Request {
    let body = json!({"factory_id": known.factory, "claim_id": name});
    admin.request("POST", "/fleet/jobs/claim").json(&body)
}

fn claimed(known: &mut Known, answer: &Value) {
    known.job = text(answer, "id");
    known.epoch = number(answer, "lease_epoch");
}

fn post(admin: &Client, path: &str, body: &Value) -> Request {
    admin.request("POST", path).json(body)
}

fn jobs_and_money() -> Vec<Step> {
    vec![
        step(
            "budget",
            |admin, _| {
                let body = json!({"ceilingUsd": 3, "window": "total"});
                admin.request("PUT", "/fleet/budgets/p").json(&body)
            },
            NOTHING,
        ),
        step(
            "factory",
            |admin, _| {
                let body = json!({"name": "f", "capabilities": [], "seat_limit": 1});
                post(admin, "/fleet/factories", &body)
            },
            |known, answer| known.factory = text(answer, "id"),
        ),
        step(
            "submit",
            |admin, _| {
                let children = ["a", "b"].map(|key| {
                    json!({"idempotency_key": key, "product_id": "p", "estimate_usd": "1.5", "body_md": "Build it."})
                });
                let body = json!({"idempotency_key": "all", "kind": "composite", "product_id": "p", "children": children});
                post(admin, "/fleet/jobs", &body)
            },
            NOTHING,
        ),
        step(
            "claim",
            |admin, known| claim(admin, known, "first"),
            claimed,
        ),
        step(
            "spend",
            |admin, known| {
                let body = json!({"amount_usd": 1.000001, "key": "k", "job_id": known.job, "lease_epoch": known.epoch});
                post(admin, "/fleet/budgets/p/spend", &body)
            },
            NOTHING,
        ),
        step(
            "heartbeat",
            |admin, known| {
                let path = format!("/fleet/factories/{}/heartbeat", known.factory);
                let jobs = [json!({"job_id": known.job, "lease_epoch": known.epoch})];
                post(admin, &path, &json!({"jobs": jobs}))
            },
            |_, answer| assert_eq!(answer["jobs"][0]["held"], true, "{answer}"),
        ),
        step(
            "build",
            |admin, known| report(admin, known, "building"),
            NOTHING,
        ),
        step(
            "ship",
            |admin, known| report(admin, known, "shipped"),
            NOTHING,
        ),
        step(
            "claim another",
            |admin, known| claim(admin, known, "second"),
            claimed,
        ),
        step(
            "fail",
            |admin, known| report(admin, known, "failed"),
            NOTHING,
        ),
        step(
            "requeue",
            |admin, known| {
                post(
                    admin,
                    &format!("/fleet/jobs/{}/requeue", known.job),
                    &json!({}),
                )
            },
            NOTHING,
        ),
        step(
            "pause",
            |admin, _| post(admin, "/fleet/budgets/p/pause", &json!({})),
            |_, answer| assert_eq!(answer["paused_by"], "manual"),
        ),
        step(
            "resume",
            |admin, _| post(admin, "/fleet/budgets/p/resume", &json!({})),
            |_, answer| assert_eq!(answer["paused"], false),
        ),
        step(
            "claim it again",
            |admin, known| claim(admin, known, "third"),
            claimed,
        ),
        step(
            "build it",
            |admin, known| report(admin, known, "building"),
            NOTHING,
        ),
        step(
            "ship it",
            |admin, known| report(admin, known, "done"),
            NOTHING,
        ),
    ]
}

fn placement() -> Vec<Step> {
    vec![
        step(
            "place",
            |admin, _| {
                let body = json!({"tenant_id": "t", "vm_id": "vm", "memory_mb": 1_000, "vcpus": 1});
                post(admin, "/fleet/placements", &body)
            },
            |known, answer| known.placement = text(answer, "id"),
        ),
        step(
            "confirm",
            |admin, known| {
                let path = format!("/fleet/placements/{}/confirm", known.placement);
                post(admin, &path, &json!({}))
            },
            NOTHING,
        ),
        step(
            "release",
            |admin, known| {
                admin.request("DELETE", &format!("/fleet/placements/{}", known.placement))
            },
            NOTHING,
        ),
    ]
}

/// What came of a try.
enum Try {
    Answered(Value),
    /// No answer, or that the server is not ready for it yet.
    Again,
}

fn attempt(admin: &Client, number: usize, step: &Step, known: &Known) -> Try {
    let request = (step.ask)(admin, known).header("idempotency-key", &format!("step {number}"));
    match admin.try_send(&request) {
        Ok(answer) if matches!(answer.status, 200 | 201) => Try::Answered(answer.json()),
        Ok(answer) if answer.status == 204 => Try::Answered(Value::Null),
        // Not ready, being repeated, or its nodes have not been heard of yet.
        Ok(answer)
            if matches!(answer.status, 401 | 402 | 404 | 429 | 503)
                || matches!(answer.code().as_str(), "in-progress" | "no-capacity") =>
        {
            Try::Again
        }
        Ok(answer) => panic!("{}: {} {}", step.name, answer.status, answer.text()),
        Err(_) => Try::Again,
    }
}

fn live_through(fleet: &mut fleetwright_tests::fleet::TestFleet, steps: &[Step]) -> Known {
    let admin = fleet.admin.clone();
    let mut known = Known::default();
    let (mut lives, mut at) = (0, 0);
    let started = Instant::now();
    fleet.server.kill();
    while at < steps.len() {
        let around = if lives % 2 == 0 { "before" } else { "after" };
        fleet.server.launch_until(&format!("placement:{around}:1"));
        let server = &mut fleet.server;
        let mut at_first = Instant::now();
        wait_for(
            &format!("life {lives} to end {around} a commit"),
            PATIENCE,
            || {
                if server.has_reached_failpoint() || at == steps.len() {
                    return Some(());
                }
                let step = &steps[at];
                if let Try::Answered(answer) = attempt(&admin, at, step, &known) {
                    (step.learn)(&mut known, &answer);
                    println!(
                        "{} was answered in life {lives}, after {:?}",
                        step.name,
                        at_first.elapsed()
                    );
                    at_first = Instant::now();
                    at += 1;
                }
                None
            },
        );
        lives += 1;
        assert!(lives < LIVES_MAX, "it does not end: step {at}");
    }
    println!(
        "{} steps, {lives} lives, {:?}",
        steps.len(),
        started.elapsed()
    );
    // Each was hit before and after its commit.
    assert!(lives >= 2 * steps.len(), "{lives} lives");
    pause(Duration::from_millis(100));
    fleet.server.kill();
    known
}

fn walk(engine: Engine, with_placement: bool) {
    let setup = Setup::pro().on(engine).with("budgets = true");
    let mut fleet = setup.start();
    let mut crowd = None;
    let mut steps = jobs_and_money();
    if with_placement {
        let mut agents = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
        let token = fleet.admin.enrollment_token(1, true, &[]);
        let identities = agents.enroll(&token, "node", 1);
        agents.connect(&identities, Behaviour::Succeed(Duration::ZERO));
        crowd = Some(agents);
        steps.extend(placement());
    }
    let known = live_through(&mut fleet, &steps);
    let mut heard = Heard::default();
    heard.shipped.insert(known.job.clone());
    stored::check(&fleet, &heard);
    fleet.server.launch();
    fleet.server.wait_ready();
    let admin = &fleet.admin;
    let counts = admin.get("/fleet/jobs/counts").expect(200);
    let of_stage = |stage: &str| counts["totals"][stage].as_u64().unwrap_or_default();
    assert_eq!(of_stage("shipped"), 3, "{counts}");
    let budget = admin.get("/fleet/budgets/p").expect(200);
    assert_eq!(
        (&budget["spent_usd"], &budget["reserved_usd"]),
        (&json!("1.000001"), &json!("0"))
    );
    let job = admin.get(&format!("/fleet/jobs/{}", known.job)).expect(200);
    assert_eq!(
        (number(&job, "attempts"), number(&job, "lease_epoch")),
        (1, known.epoch)
    );
    let events = job["events"].as_array().expect("a list");
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["to_stage"].as_str().expect("a stage"))
        .collect();
    assert_eq!(
        kinds,
        [
            "queued", "assigned", "failed", "queued", "assigned", "building", "shipped"
        ]
    );
    drop(crowd);
}

#[test]
fn a_server_killed_at_every_commit_of_placement_goes_on_on_sqlite() {
    walk(Engine::Sqlite, true);
}

#[test]
fn a_server_killed_at_every_commit_of_placement_goes_on_on_postgres() {
    walk(Engine::Postgres, false);
}
