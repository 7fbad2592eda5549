//! Deployments through servers none of which outlives its next write: each life ends by itself at the next commit of the
//! module, in turn just before and just after it, until the deployment is over. So every step, and everything an operator
//! does on the way, is hit both ways.

use std::time::Duration;

use fleetwright_tests::client::{Client, number, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::wait::{PATIENCE, pause, wait_for};
use serde_json::{Value, json};

use super::{Site, is_over, trace};

/// Beyond any of these deployments: two for each of its commits.
const LIVES_MAX: usize = 80;

/// What a deployment came to.
struct Outcome {
    id: String,
    view: Value,
    moves: Vec<String>,
}

/// A client whose connection breaks at every write.
struct Operator<'a> {
    admin: Client,
    key: &'a str,
    body: &'a Value,
    agents: usize,
    /// Known once a creation was answered.
    id: Option<String>,
}

impl Operator<'_> {
    /// One more try: creates until that is answered, then approves whatever waits. The deployment once it is over.
    fn go_on(&mut self) -> Option<Value> {
        let Some(id) = &self.id else {
            // Batches are in the order of names only if all hosts are online.
            let hosts = self.try_get("/hosts")?;
            let hosts = hosts["items"].as_array()?;
            let online = hosts.iter().filter(|host| host["status"] == "online");
            if online.count() == self.agents {
                let answer = self.admin.try_send(&self.creation()).ok()?;
                if answer.status == 202 {
                    self.id = Some(text(&answer.json(), "id"));
                }
            }
            return None;
        };
        let path = format!("/fleet/rolling/{id}");
        let view = self.try_get(&path)?;
        let counters =
            ["succeeded", "failed", "running", "queued", "skipped"].map(|name| number(&view, name));
        assert_eq!(
            counters.iter().sum::<u64>(),
            number(&view, "total"),
            "{view}"
        );
        if view["status"] == "awaiting_approval" {
            let next = json!({"batch": number(&view, "current_batch") + 1});
            let approval = self.admin.request("POST", &format!("{path}/approve"));
            // An answer that is lost leaves it to be seen whether it waits still.
            let _ = self.admin.try_send(&approval.json(&next));
        }
        is_over(&view).then_some(view)
    }

    fn creation(&self) -> fleetwright_tests::http::Request {
        let creation = self.admin.request("POST", "/fleet/rolling");
        creation.header("idempotency-key", self.key).json(self.body)
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        let answer = self.admin.try_send(&self.admin.request("GET", path)).ok()?;
        (answer.status == 200).then(|| answer.json())
    }
}

/// Creates a deployment and sees it through, life after life.
fn deploy_life_by_life(site: &mut Site, run: &str, body: &Value) -> Outcome {
    let mut operator = Operator {
        admin: site.fleet.admin.clone(),
        key: run,
        body,
        agents: site.names.len(),
        id: None,
    };
    let known = site.fleet.admin.all("/fleet/rolling").len();
    let mut lives = 0;
    let server = &mut site.fleet.server;
    server.kill();
    let view = loop {
        let around = if lives % 2 == 0 { "before" } else { "after" };
        server.launch_until(&format!("rolling:{around}:1"));
        let what = format!("{run}: life {lives} to end {around} a commit");
        let over = wait_for(&what, PATIENCE, || {
            if server.has_reached_failpoint() {
                return Some(None);
            }
            operator.go_on().map(Some)
        });
        if let Some(view) = over {
            // It may have been seen between its last commit and the end of this life behind it.
            pause(Duration::from_millis(500));
            if !server.has_reached_failpoint() {
                break view;
            }
        }
        lives += 1;
        assert!(lives < LIVES_MAX, "{run} does not end");
    };
    let admin = &operator.admin;
    let id = text(&view, "id");
    let again = admin.send(&operator.creation()).expect(202);
    assert_eq!(text(&again, "id"), id, "{run}: one key made two");
    assert_eq!(admin.all("/fleet/rolling").len(), known + 1, "{run}");
    let moves = trace(admin, &id);
    println!(
        "{run}: {lives} lives ended on the way, {} moves: {moves:#?}",
        moves.len()
    );
    // A move is a commit, and each was hit before and after.
    assert!(lives >= 2 * moves.len(), "{run}: {lives} lives, {moves:?}");
    Outcome { id, view, moves }
}

/// Rows of the audit log about a deployment.
fn audited(site: &Site, id: &str, action: &str) -> usize {
    let path = format!("/audit?action={action}&target_id={id}");
    site.fleet.admin.all(&path).len()
}

fn approvals_everywhere(site: &mut Site) {
    let more = json!({"batch_size": 2, "require_approval": "each"});
    let body = site.body("approved", &[], more);
    let done = deploy_life_by_life(site, "approved", &body);
    assert_eq!(done.view["status"], "succeeded", "{}", done.view);
    assert_eq!(site.started("approved"), site.names);
    let expected = [
        "queued running batch_dispatched",
        "running awaiting_approval approval_required",
        "awaiting_approval running approved",
        "running awaiting_approval approval_required",
        "awaiting_approval running approved",
        "running succeeded all_hosts_finished",
    ];
    assert_eq!(done.moves, expected);
    assert_eq!(audited(site, &done.id, "rolling.create"), 1);
    assert_eq!(audited(site, &done.id, "rolling.approve"), 2);
}

fn a_halt_and_its_rollback(site: &mut Site) {
    let undo =
        json!({"operation_type": "run_script", "parameters": {"script": site.script("undo", &[])}});
    let more = json!({"batch_size": 2, "require_approval": "first", "failure_threshold_pct": 0, "rollback": undo});
    let body = site.body("halted", &site.names[2..3], more);
    let done = deploy_life_by_life(site, "halted", &body);
    assert_eq!(done.view["status"], "rolled_back", "{}", done.view);
    let ran = site.started("halted");
    // The other host of the failing batch may not have started yet when it halted.
    assert!(ran == site.names[..4] || ran == site.names[..3], "{ran:?}");
    assert_eq!(site.started("undo"), ran);
    let counters = ["succeeded", "failed", "skipped"].map(|name| number(&done.view, name));
    let (ran, all) = (ran.len() as u64, site.names.len() as u64);
    assert_eq!(counters, [ran - 1, 1, all - ran], "{}", done.view);
    assert_eq!(number(&done.view["rollback"], "succeeded"), ran);
    let expected = [
        "queued running batch_dispatched",
        "running awaiting_approval approval_required",
        "awaiting_approval running approved",
        "running halting failure_threshold_passed",
        "halting rolling_back rollback_started",
        "rolling_back rolled_back rollback_finished",
    ];
    assert_eq!(done.moves, expected);
    assert_eq!(audited(site, &done.id, "rolling.create"), 1);
    assert_eq!(audited(site, &done.id, "rolling.approve"), 1);
}

#[test]
fn a_server_killed_at_every_step_of_a_deployment_goes_on_on_sqlite() {
    let mut site = Site::of_agents(Engine::Sqlite, 6, "reconnect_seconds_max = 1");
    approvals_everywhere(&mut site);
    a_halt_and_its_rollback(&mut site);
}

#[test]
fn a_server_killed_at_every_step_of_a_deployment_goes_on_on_postgres() {
    let mut site = Site::of_agents(Engine::Postgres, 6, "reconnect_seconds_max = 1");
    a_halt_and_its_rollback(&mut site);
}
