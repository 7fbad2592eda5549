//! VMs, jobs and budgets, shown: a VM on a node, three jobs of which a critical one takes another's seat, and a budget that
//! pauses when it is spent.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::operator::Operator;
use super::place::Place;
use crate::children::Children;
use crate::steps::{Steps, say};
use crate::wait;

/// A worker without a free seat looks for critical jobs every few seconds.
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// Three jobs of a quarter each.
const CEILING: &str = "0.75";

/// What the worker does with a job: the nightly one says where it stands and takes long, unless it goes on from there.
const SCRIPT: &str = r#"
if [ "$FLEET_JOB_KIND" = nightly ] && [ -z "$FLEET_JOB_CHECKPOINT" ]; then
    echo '{"checkpoint": "half"}' > "$FLEET_JOB_REPORT"; sleep 600
fi
echo '{"spend_usd": "0.25", "artifact": {"name": "app.tar"}}' > "$FLEET_JOB_REPORT"
"#;

pub fn show(
    steps: &mut Steps,
    place: &Place,
    operator: &Operator,
    children: &mut Children,
) -> Result<()> {
    steps.step("Place a VM where there is room", || place_vm(operator))?;
    let victim = steps.step(
        "A worker; a critical job takes its only seat, and the other comes back",
        || preempt(place, operator, children),
    )?;
    operator.show(&["jobs", "events", &victim])?;
    steps.step("A budget that is spent: nothing more is claimed", || {
        spend(operator, children)
    })
}

fn place_vm(operator: &Operator) -> Result<()> {
    wait::until("a node to be ready", DONE_WITHIN, || {
        let nodes = operator.data(&["nodes", "list"])?;
        let is_ready = |node: &Value| node["state"] == "ready";
        let nodes = nodes.as_array().context("a list of nodes")?;
        Ok(nodes.iter().any(is_ready).then_some(()))
    })?;
    let words = ["--tenant", "acme", "--vm", "acme-1", "--memory", "64"];
    operator.show(&[&["place", "create"][..], &words].concat())?;
    operator.show(&["nodes", "list"])
}

/// The id of the job that lost its seat.
fn preempt(place: &Place, operator: &Operator, children: &mut Children) -> Result<String> {
    operator.show(&["budgets", "set", "app", CEILING, "--window", "total"])?;
    let mut worker = operator.command();
    worker.args(["factory", "run", "--name", "builder", "--heartbeat", "2"]);
    worker.args(["--", "sh", "-c", SCRIPT]);
    let log = place.folder.join("worker.log");
    children.spawn("the worker", worker, &log)?;
    say(&format!(
        "$ fleetwright factory run --name builder -- sh -c …, log in {}",
        log.display()
    ));
    let nightly = submit(operator, "nightly", "low")?;
    wait_for(operator, children, &nightly, |job| {
        job["checkpoint"] == "half"
    })?;
    let hotfix = submit(operator, "hotfix", "critical")?;
    let docs = submit(operator, "docs", "normal")?;
    for id in [&hotfix, &docs, &nightly] {
        wait_for(operator, children, id, |job| job["stage"] == "shipped")?;
    }
    operator.show(&["jobs", "list"])?;
    for line in std::fs::read_to_string(&log)?.lines() {
        say(line);
    }
    Ok(nightly)
}

fn spend(operator: &Operator, children: &mut Children) -> Result<()> {
    let late = submit(operator, "late", "high")?;
    operator.show(&["budgets", "list"])?;
    operator.show(&["jobs", "explain", "builder"])?;
    operator.show(&["budgets", "set", "app", "1", "--window", "total"])?;
    wait_for(operator, children, &late, |job| job["stage"] == "shipped")?;
    operator.show(&["jobs", "counts"])
}

fn submit(operator: &Operator, kind: &str, priority: &str) -> Result<String> {
    let words = ["jobs", "submit", "--product", "app", "--kind", kind];
    let made = operator.data(&[&words[..], &["--priority", priority]].concat())?;
    let id = made["id"].as_str().unwrap_or_default();
    ensure!(!id.is_empty(), "no job: {made}");
    say(&format!("submitted {kind} ({priority}): {id}"));
    Ok(id.to_owned())
}

fn wait_for(
    operator: &Operator,
    children: &mut Children,
    id: &str,
    holds: impl Fn(&Value) -> bool,
) -> Result<()> {
    wait::until("a job to be done", DONE_WITHIN, || {
        children.check()?;
        Ok(holds(&operator.data(&["jobs", "show", id])?).then_some(()))
    })
}
