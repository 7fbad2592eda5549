//! As whom a schedule launches, what stops it, and what it keeps others from.

use fleetwright_tests::client::text;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{create, every_hour, hourly, only_run, restart_after_hours, runs};

/// A schedule of another operator's, who is no more.
fn revoked_schedule(fleet: &TestFleet) -> String {
    let made = json!({"name": "leaving", "role": "operator"});
    let made = fleet.admin.post("/tokens", &made).expect(201);
    let leaving = fleet.admin.with_token(&text(&made, "token"));
    let id = create(
        &leaving,
        &hourly("orphan", "web", json!({"selector": {"all_hosts": true}})),
    );
    let path = format!("/tokens/{}", text(&made, "id"));
    assert_eq!(fleet.admin.delete(&path).status, 204);
    id
}

#[test]
fn the_schedule_of_an_owner_who_was_revoked_launches_nothing_until_somebody_takes_it_over() {
    let mut fleet = Setup::pro().start();
    fleet.add_agent("one.test", &["web"]);
    let id = revoked_schedule(&fleet);
    restart_after_hours(&mut fleet, 1);
    let run = only_run(&fleet, &id, &["pending"]);
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("failed_to_launch"), &json!("owner_revoked"))
    );
    assert!(fleet.admin.all("/fleet/bulk").is_empty());
    let path = format!("/fleet/schedules/{id}");
    let shown = fleet.admin.get(&path).expect(200);
    assert_eq!(
        (&shown["last_status"], &shown["last_reason"]),
        (&run["status"], &run["reason"])
    );
    // At other times, so that the run to come is another one.
    let more = json!({"selector": {"all_hosts": true}, "cron": every_hour(20)});
    let taken = hourly("orphan", "web", more);
    fleet.admin.put(&path, &taken).expect(200);
    restart_after_hours(&mut fleet, 1);
    let newest = wait_for("the second run", 2 * PATIENCE, || {
        let run = runs(&fleet, &id)
            .into_iter()
            .find(|run| run["reason"].is_null())?;
        (run["status"] == "succeeded").then_some(run)
    });
    assert_ne!(newest["id"], run["id"]);
}

#[test]
fn a_lapsed_licence_skips_fires_and_they_are_told() {
    let mut fleet = Setup::pro().start();
    let id = create(
        &fleet.admin,
        &hourly("lapsed", "web", json!({"selector": {"all_hosts": true}})),
    );
    fleet.install_license(&["--all-features", "--days", "0", "--grace-days", "0"]);
    wait_for("the licence to lapse", PATIENCE, || {
        let answer = fleet
            .admin
            .post("/fleet/schedules", &hourly("new", "web", json!({})));
        if answer.status == 201 {
            let path = format!("/fleet/schedules/{}", text(&answer.json(), "id"));
            assert!(matches!(fleet.admin.delete(&path).status, 204 | 402));
        }
        (answer.status == 402).then_some(())
    });
    restart_after_hours(&mut fleet, 1);
    let run = only_run(&fleet, &id, &["pending"]);
    assert_eq!(
        (&run["status"], &run["reason"]),
        (&json!("skipped_unlicensed"), &json!("license_expired"))
    );
    // Reading goes on.
    let shown = fleet
        .admin
        .get(&format!("/fleet/schedules/{id}"))
        .expect(200);
    assert_eq!(shown["last_status"], "skipped_unlicensed");
}

#[test]
fn a_viewer_sees_schedules_and_changes_none() {
    let fleet = Setup::pro().start();
    let id = create(&fleet.admin, &hourly("seen", "web", json!({})));
    let viewer = fleet.admin.token_of_role("viewer");
    assert_eq!(viewer.get("/fleet/schedules").status, 200);
    assert_eq!(
        viewer
            .post("/fleet/schedules/preview", &json!({"cron": "@daily"}))
            .status,
        200
    );
    let body = hourly("other", "web", json!({}));
    assert_eq!(viewer.post("/fleet/schedules", &body).status, 403);
    assert_eq!(
        viewer
            .post(&format!("/fleet/schedules/{id}/run"), &json!({}))
            .status,
        403
    );
}

#[test]
fn a_group_that_a_schedule_names_is_not_deleted() {
    let fleet = Setup::pro().start();
    let group = json!({"name": "web", "selector": {"tags": ["web"]}});
    let group = text(&fleet.admin.post("/fleet/groups", &group).expect(201), "id");
    let body = hourly("grouped", "web", json!({"selector": {"groups": ["WEB"]}}));
    let id = create(&fleet.admin, &body);
    let shown = fleet
        .admin
        .get(&format!("/fleet/schedules/{id}"))
        .expect(200);
    assert!(shown["selector"].to_string().contains(&group), "{shown}");
    let path = format!("/fleet/groups/{group}");
    let refused = fleet.admin.delete(&path);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "group-in-use")
    );
    let named = refused.json()["schedules"].clone();
    assert_eq!(named, json!([{"id": id, "name": "grouped"}]));
    assert_eq!(
        fleet.admin.delete(&format!("/fleet/schedules/{id}")).status,
        204
    );
    assert_eq!(fleet.admin.delete(&path).status, 204);
}

#[test]
fn what_bulk_would_refuse_is_refused_when_the_schedule_is_saved() {
    let fleet = Setup::pro().start();
    let more = json!({"parameters": {}, "options": {"timeout_seconds": 0, "batchsize": 1}, "cron": "61 * * * *"});
    let refused = fleet
        .admin
        .post("/fleet/schedules", &hourly("bad", "web", more))
        .expect(422);
    let errors: Vec<&Value> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    let expected = [
        "/cron",
        "/options/batchsize",
        "/parameters/script",
        "/options/timeout_seconds",
    ];
    assert_eq!(errors, expected);
}
