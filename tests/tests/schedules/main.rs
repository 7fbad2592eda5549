//! Schedules in a real server with the real module libraries: what is launched, as whom, and exactly once whatever happens
//! to the server. Time passes while the server is down: its schedules are then due as long ago as the test says.

mod deployments;
mod firing;
mod rights;

use std::sync::LazyLock;

use fleetwright_server::db::{Db, DbError, Statement};
use fleetwright_tests::client::{Client, text};
use fleetwright_tests::fleet::TestFleet;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use jiff::Timestamp;
use serde_json::{Value, json};

const HOUR_US: i64 = 3_600_000_000;

/// So many minutes from when the tests began, every hour: what is half an hour away does not come by itself meanwhile.
fn every_hour(minutes_away: i64) -> String {
    static BEGUN: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);
    let minute = (BEGUN.as_second() / 60 + minutes_away) % 60;
    format!("{minute} * * * *")
}

/// `echo hi` every hour on the hosts with a tag, with more fields.
fn hourly(name: &str, tag: &str, more: Value) -> Value {
    let mut body = json!({
        "name": name, "cron": every_hour(30), "operation_type": "run_script", "parameters": {"script": "echo hi"},
        "selector": {"tags": [tag]},
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

fn create(client: &Client, body: &Value) -> String {
    text(&client.post("/fleet/schedules", body).expect(201), "id")
}

fn runs(fleet: &TestFleet, id: &str) -> Vec<Value> {
    fleet.admin.all(&format!("/fleet/schedules/{id}/runs"))
}

/// The one run of a schedule, once its status is none of `but`.
fn only_run(fleet: &TestFleet, id: &str, but: &[&str]) -> Value {
    wait_for("the run", PATIENCE, || {
        let runs = runs(fleet, id);
        assert!(runs.len() < 2, "{runs:?}");
        let run = runs.into_iter().next()?;
        let waits = but.contains(&run["status"].as_str()?);
        (!waits).then_some(run)
    })
}

/// The server is killed and starts again so many hours later, as its schedules see it.
fn restart_after_hours(fleet: &mut TestFleet, hours: i64) {
    fleet.server.kill();
    turn_back(fleet, hours);
    fleet.server.launch();
    fleet.server.wait_ready();
}

/// What was to be done within the next hour was to be done that much earlier.
fn turn_back(fleet: &TestFleet, hours: i64) {
    let file = fleet.server.settings.data_dir().join("fleetwright.db");
    let url = format!("sqlite://{}", file.display());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let db = Db::open(&url).await.expect("the database opens");
        db.write(move |tx| {
            let sql = "UPDATE schedules_schedule SET next_nominal_at = next_nominal_at - $1, \
                       next_due_at = next_due_at - $1, computed_at = computed_at - $1";
            tx.execute(Statement::new(sql).bind(hours * HOUR_US))?;
            Ok::<_, DbError>(())
        })
        .await
        .expect("the tables can be written");
        db.close().await;
    });
}
