//! Bulk operations through the real module libraries: frozen selections, exact counters and limits, control, and how
//! they appear in a running community server.

mod arrival;
mod control;
mod counters;
mod groups;
mod repeated;
mod selection;

use std::sync::Arc;
use std::time::Duration;

use fleetwright_tests::fleet::TestFleet;
use fleetwright_tests::load::crowd::Crowd;
use fleetwright_tests::load::identity::Identity;
use serde_json::{Value, json};

const HEARTBEAT: Duration = Duration::from_secs(5);

/// Simulated, approved hosts with this tag; none is connected yet.
fn enrolled(fleet: &TestFleet, tag: &str, count: usize) -> (Crowd, Vec<Arc<Identity>>) {
    let token = fleet.admin.enrollment_token(count as u64, true, &[tag]);
    let crowd = Crowd::new(fleet.server.agent_listen, HEARTBEAT);
    let identities = crowd.enroll(&token, tag, count);
    (crowd, identities)
}

/// `echo hi` on every host with the tag, with more fields.
fn bulk_on(tag: &str, more: Value) -> Value {
    let mut body = json!({
        "operation_type": "run_script", "parameters": {"script": "echo hi"}, "selector": {"tags": [tag]},
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

/// The five counters of a progress, in the order of the documentation.
fn counters(progress: &Value) -> [u64; 5] {
    ["succeeded", "failed", "running", "queued", "skipped"]
        .map(|name| fleetwright_tests::client::number(progress, name))
}
