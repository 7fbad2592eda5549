//! Schedules from their making to their end.

use fleetwright_tests::client::{number, text};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{data, fleet, outcome};

/// A rolling deployment every night.
const CREATE: [&str; 15] = [
    "schedules",
    "create",
    "nightly",
    "--cron",
    "30 3 * * *",
    "--timezone",
    "Europe/Berlin",
    "--select",
    "tags contains web",
    "--kind",
    "rolling",
    "--option",
    "batch_size=2",
    "--",
    "true",
];

#[test]
fn a_schedule_is_made_shown_run_switched_off_and_on_and_deleted() {
    let fleet = fleet();
    let made = data(&fleet, &CREATE);
    assert_eq!(
        (&made["kind"], &made["timezone"], &made["enabled"]),
        (&json!("rolling"), &json!("Europe/Berlin"), &json!(true))
    );
    let listed = outcome(&fleet, &["schedules", "list"]);
    let row = |line: &str| line.starts_with("nightly ") && line.contains("30 3 * * *");
    assert!(listed.1.lines().any(row), "{}", listed.1);

    let run = data(&fleet, &["schedules", "run", "nightly"]);
    assert_eq!(run["cause"], "manual");
    let ended = wait_for("the run to end", PATIENCE, || {
        let runs = data(&fleet, &["schedules", "runs", "nightly"]);
        let open = ["pending", "queued", "running"];
        let is_open = open.contains(&runs[0]["status"].as_str()?);
        (!is_open).then(|| runs[0].clone())
    });
    assert_eq!(
        (&ended["id"], &ended["status"]),
        (&run["id"], &json!("succeeded"))
    );
    // Its operation has the run's id.
    let deployment = data(&fleet, &["rolling", "show", &text(&run, "id")]);
    assert_eq!(number(&deployment, "succeeded"), 4, "{deployment}");
    let shown = outcome(&fleet, &["schedules", "list"]);
    assert!(shown.1.contains("succeeded"), "{}", shown.1);

    let show = || data(&fleet, &["schedules", "show", "nightly"]);
    data(&fleet, &["schedules", "disable", "nightly"]);
    let off = show();
    assert_eq!(
        (&off["enabled"], &off["next_run_at"]),
        (&json!(false), &Value::Null)
    );
    data(&fleet, &["schedules", "enable", "nightly"]);
    data(
        &fleet,
        &["schedules", "update", "nightly", "--cron", "0 5 * * *"],
    );
    let on = show();
    assert!(on["next_run_at"].is_string(), "{on}");
    assert_eq!(
        (&on["cron"], &on["options"]),
        (&json!("0 5 * * *"), &json!({"batch_size": 2}))
    );
    let unasked = outcome(&fleet, &["schedules", "delete", "nightly"]);
    assert_eq!(unasked.0, Some(2), "{}", unasked.1);
    let deleted = outcome(&fleet, &["schedules", "delete", "nightly", "--yes"]);
    assert_eq!(deleted.0, Some(0), "{}", deleted.1);
    assert_eq!(data(&fleet, &["schedules", "list"]), json!([]));
}

#[test]
fn a_preview_shows_the_next_times_and_what_cannot_be_read_is_pointed_at() {
    let fleet = fleetwright_tests::fleet::Setup::pro().start();
    let preview = ["schedules", "preview", "0 12 1 1 *", "--count", "2"];
    let zone = ["--timezone", "Asia/Tokyo"];
    let times = data(&fleet, &[&preview[..], &zone].concat());
    let times = times["times"].as_array().expect("a list of times").clone();
    let is_noon_in_tokyo = |time: &Value| {
        time.as_str()
            .is_some_and(|time| time.ends_with("-01-01T03:00:00.000Z"))
    };
    assert!(
        times.len() == 2 && times.iter().all(is_noon_in_tokyo),
        "{times:?}"
    );
    let wrong = outcome(&fleet, &["schedules", "preview", "61 * * * *"]);
    assert_eq!(wrong.0, Some(3), "{}", wrong.1);
    assert!(wrong.1.contains("61"), "{}", wrong.1);
    let unknown = outcome(&fleet, &["schedules", "show", "nobody"]);
    assert_eq!(unknown.0, Some(2), "{}", unknown.1);
}
