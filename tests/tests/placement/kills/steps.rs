//! The life of some jobs, a budget and a placement through servers none of which outlives its next write: each life ends by
//! itself at one of the module's next commits, in turn just before and just after it, and a client repeats its step until it
//! is answered. Long runs hit every step both ways; others every step once, each of the databases in its own way.

use std::time::Duration;

use fleetwright_tests::client::{Client, number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Request;
use fleetwright_tests::load::agent::Behaviour;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::seed::times;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::heard::{Claim, Heard};
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
    heard: Heard,
}

/// What is asked, and what is learnt from its answer.
struct Step {
    name: &'static str,
    /// What it is when it is asked again and was done already.
    again: Again,
    ask: fn(&Client, &Known) -> Request,
    learn: fn(&mut Known, &Value),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Answered as before.
    Answered,
    /// Refused: the job is not any more where it was.
    Refused,
    /// Done once more, so that no life would ever answer it.
    Done,
}

const NOTHING: fn(&mut Known, &Value) = |_, _| {};

fn step(
    name: &'static str,
    ask: fn(&Client, &Known) -> Request,
    learn: fn(&mut Known, &Value),
) -> Step {
    Step {
        name,
        again: Again::Answered,
        ask,
        learn,
    }
}

/// Of which there is nothing to learn.
fn step_again(name: &'static str, again: Again, ask: fn(&Client, &Known) -> Request) -> Step {
    Step {
        again,
        ..step(name, ask, NOTHING)
    }
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
    let claim = Claim {
        factory_id: known.factory.clone(),
        claim_id: text(answer, "claim_id"),
    };
    let epoch = i64::try_from(known.epoch).expect("small");
    known.heard.claimed(known.job.clone(), epoch, claim);
}

fn post(admin: &Client, path: &str, body: &Value) -> Request {
    admin.request("POST", path).json(body)
}

fn jobs_and_money() -> Vec<Step> {
    vec![
        step_again("budget", Again::Done, |admin, _| {
            let body = json!({"ceilingUsd": 3, "window": "total"});
            admin.request("PUT", "/fleet/budgets/p").json(&body)
        }),
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
            |known, _| {
                let key = ("p".to_owned(), "k".to_owned());
                known.heard.spends.insert(key, 1_000_001);
            },
        ),
        step_again("heartbeat", Again::Done, |admin, known| {
            let path = format!("/fleet/factories/{}/heartbeat", known.factory);
            let jobs = [json!({"job_id": known.job, "lease_epoch": known.epoch})];
            post(admin, &path, &json!({"jobs": jobs}))
        }),
        step_again("build", Again::Refused, |admin, known| {
            report(admin, known, "building")
        }),
        step_again("ship", Again::Refused, |admin, known| {
            report(admin, known, "shipped")
        }),
        step(
            "claim another",
            |admin, known| claim(admin, known, "second"),
            claimed,
        ),
        step_again("fail", Again::Refused, |admin, known| {
            report(admin, known, "failed")
        }),
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
        step_again("build it", Again::Refused, |admin, known| {
            report(admin, known, "building")
        }),
        step_again("ship it", Again::Refused, |admin, known| {
            report(admin, known, "done")
        }),
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
            |known, answer| {
                known.placement = text(answer, "id");
                known.heard.placements.insert(known.placement.clone());
            },
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
    /// The job has moved on.
    Refused,
    /// No answer, or that the server is not ready for it yet.
    Again,
}

fn attempt(admin: &Client, number: usize, step: &Step, known: &Known) -> Try {
    let request = (step.ask)(admin, known).header("idempotency-key", &format!("step {number}"));
    let Ok(answer) = admin.try_send(&request) else {
        return Try::Again;
    };
    let code = match answer.status {
        200 | 201 => return Try::Answered(answer.json()),
        204 => return Try::Answered(Value::Null),
        _ => answer.code(),
    };
    match (answer.status, code.as_str()) {
        // Not ready, being repeated, or its nodes have not been heard of yet.
        (429 | 503, _) | (409, "in-progress" | "no-capacity") => Try::Again,
        // The module does not run yet.
        (402 | 404, _) => Try::Again,
        (409, "stale-lease" | "invalid-transition") => Try::Refused,
        _ => panic!("{}: {} {}", step.name, answer.status, answer.text()),
    }
}

/// Where in the steps a client is.
struct Walk<'a> {
    admin: Client,
    steps: &'a [Step],
    at: usize,
    /// A life has ended behind a commit while this step was asked.
    is_done_perhaps: bool,
    known: Known,
}

impl Walk<'_> {
    /// One more try of the step that is next; false at the end.
    fn go_on(&mut self) -> bool {
        let Some(step) = self.steps.get(self.at) else {
            return false;
        };
        match attempt(&self.admin, self.at, step, &self.known) {
            Try::Answered(answer) => {
                (step.learn)(&mut self.known, &answer);
                self.next();
            }
            Try::Refused => {
                let is_known = self.is_done_perhaps && step.again == Again::Refused;
                assert!(is_known, "{} is refused", step.name);
                self.next();
            }
            Try::Again => {}
        }
        true
    }

    fn next(&mut self) {
        self.at += 1;
        self.is_done_perhaps = false;
    }

    /// A life has ended behind a commit.
    fn has_committed(&mut self) {
        self.is_done_perhaps = true;
        if self.steps.get(self.at).map(|step| step.again) == Some(Again::Done) {
            self.next();
        }
    }
}

/// Where the life of this number ends, and whether that is behind a commit.
fn end_of(life: usize, engine: Engine, is_long: bool) -> (String, bool) {
    let is_after = (life % 2 == 1) == (engine == Engine::Sqlite);
    let around = if is_after { "after" } else { "before" };
    // Behind the second is behind the next step: the one before it is done again first, and answered.
    let commit = if is_after && !is_long && life > 0 {
        2
    } else {
        1
    };
    (format!("placement:{around}:{commit}"), is_after)
}

fn live_through(fleet: &mut TestFleet, steps: &[Step]) -> Known {
    let is_long = times(1) > 1;
    let mut walk = Walk {
        admin: fleet.admin.clone(),
        steps,
        at: 0,
        is_done_perhaps: false,
        known: Known::default(),
    };
    let mut lives = 0;
    fleet.server.kill();
    loop {
        let (end, is_after) = end_of(lives, fleet.engine(), is_long);
        fleet.server.launch_until(&end);
        let what = format!("life {lives} to end at {end}, step {}", walk.at);
        let server = &mut fleet.server;
        let has_ended = wait_for(&what, PATIENCE, || {
            if server.has_reached_failpoint() {
                return Some(true);
            }
            (!walk.go_on()).then_some(false)
        });
        if !has_ended {
            break;
        }
        stored::check(fleet, &walk.known.heard);
        if is_after {
            walk.has_committed();
        }
        lives += 1;
        assert!(lives < LIVES_MAX, "it does not end: step {}", walk.at);
    }
    let hits_of_each = if is_long { 2 } else { 1 };
    assert!(lives >= hits_of_each * steps.len(), "{lives} lives");
    println!("{} steps, {lives} lives", steps.len());
    fleet.server.kill();
    walk.known
}

fn walk(engine: Engine, with_placement: bool) {
    let setup = Setup::only(&["placement"]);
    let mut fleet = setup.on(engine).with("budgets = true").start();
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
    let mut known = live_through(&mut fleet, &steps);
    known.heard.shipped.insert(known.job.clone());
    stored::check(&fleet, &known.heard);
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
        .rev()
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
