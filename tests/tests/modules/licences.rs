//! Licences that are bad, end, or are too small: readable reasons, and nothing under way is stranded.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetwright_signing::{Claims, SecretKey, license};
use fleetwright_tests::wait::wait_for;
use serde_json::json;

use crate::fixtures::{
    PATIENCE, claims, listed, now_s, put_license, put_license_text, start, start_with_fixture,
    vendor_key, wait_license,
};

#[test]
fn a_bad_licence_is_refused_with_a_readable_reason() {
    let fleet = start();
    let key = vendor_key();
    let stranger = SecretKey::generate(true).expect("a key");
    let issue = |claims: &Claims| license::issue(&key, claims).expect("issued");
    let changed = |change: fn(&mut Claims)| {
        let mut claims = claims(&["fleet_groups"]);
        change(&mut claims);
        issue(&claims)
    };
    let good = issue(&claims(&["fleet_groups"]));
    let unsigned = {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"fleetwright-license+jwt"}"#);
        format!("{header}.{}.", good.split('.').nth(1).expect("a payload"))
    };
    let cases = [
        ("garbage".to_owned(), "not readable"),
        (
            license::issue(&stranger, &claims(&["fleet_groups"])).expect("issued"),
            "does not trust",
        ),
        (unsigned, "only EdDSA is accepted"),
        (
            changed(|claims| (claims.nbf, claims.exp) = (now_s() + 600, now_s() + 900)),
            "not valid before",
        ),
        (
            changed(|claims| claims.installation = Some("elsewhere".to_owned())),
            "another installation",
        ),
    ];
    for (text, reason) in cases {
        let answer = fleet.admin.put("/license", &json!({ "license": text }));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "license-invalid"),
            "{}",
            answer.text()
        );
        let detail = answer.json()["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(detail.contains(reason), "{detail}");
        put_license_text(&fleet, &text);
        let shown = wait_for(reason, PATIENCE, || {
            let shown = fleet.admin.get("/license").expect(200);
            shown["reason"]
                .as_str()
                .is_some_and(|said| said.contains(reason))
                .then_some(shown)
        });
        assert_eq!(shown["state"], "invalid");
    }
    let expired = changed(|claims| claims.exp = claims.nbf + 60);
    assert_eq!(
        fleet
            .admin
            .put("/license", &json!({ "license": expired }))
            .status,
        422
    );
    let shown = fleet
        .admin
        .put("/license", &json!({ "license": good }))
        .expect(200);
    assert_eq!(
        (&shown["state"], &shown["features"]),
        (&json!("active"), &json!({"fleet_groups": "active"}))
    );
    assert_eq!(shown["development"], true);
}

#[test]
fn a_licence_for_this_installation_counts_and_unknown_features_are_listed() {
    let fleet = start();
    let id = fleet.admin.get("/license").expect(200)["installation_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut bound = claims(&["fleet_bulk_operations", "fleet_teleport"]);
    bound.installation = Some(id);
    put_license(&fleet, &bound);
    let shown = wait_license(&fleet, "active");
    assert_eq!(shown["unknown_features"], json!(["fleet_teleport"]));
    assert_eq!(
        shown["features"],
        json!({"fleet_bulk_operations": "active"})
    );
    let answer = fleet.admin.get("/fleet/bulk");
    assert_eq!(
        (answer.status, answer.json()["reason"].as_str()),
        (402, Some("module_not_installed"))
    );
}

#[test]
fn a_lapse_stops_new_work_and_nothing_else() {
    let fleet = start_with_fixture();
    let new = || {
        fleet
            .admin
            .post("/fleet/x-fixture/notes", &json!({"id": 7, "text": "new"}))
    };
    let continues = || fleet.admin.post("/fleet/x-fixture/go-on", &json!({}));
    let reads = || fleet.admin.get("/fleet/x-fixture/room");
    let mut lapsing = claims(&["x_fixture"]);
    (lapsing.exp, lapsing.grace_days) = (now_s() - 60, 1);
    put_license(&fleet, &lapsing);
    wait_license(&fleet, "grace");
    new().expect(201);

    lapsing.grace_days = 0;
    put_license(&fleet, &lapsing);
    wait_license(&fleet, "expired");
    let refused = new();
    assert_eq!(
        (refused.status, refused.json()["reason"].as_str()),
        (402, Some("license_expired"))
    );
    assert_eq!((continues().status, reads().status), (200, 200));

    // Taken away altogether: what was once licensed still answers.
    std::fs::remove_file(crate::fixtures::license_file(&fleet)).expect("removed");
    wait_license(&fleet, "none");
    assert_eq!(
        (new().status, continues().status, reads().status),
        (402, 200, 200)
    );
    assert_eq!(new().json()["reason"], "not_licensed");
    assert_eq!(
        listed(&fleet, "fixture").expect("listed")["state"],
        "running"
    );
}

#[test]
fn too_many_hosts_stop_new_work_only() {
    let mut fleet = start_with_fixture();
    fleet.add_agent("one.example", &[]);
    let mut small = claims(&["x_fixture"]);
    small.max_hosts = Some(0);
    put_license(&fleet, &small);
    wait_for("the limit to be passed", PATIENCE, || {
        fleet.admin.get("/license").expect(200)["host_limit_exceeded"]
            .as_bool()
            .filter(|over| *over)
    });
    let refused = fleet
        .admin
        .post("/fleet/x-fixture/notes", &json!({"id": 7, "text": "new"}));
    assert_eq!(
        (refused.status, refused.json()["reason"].as_str()),
        (402, Some("host_limit_exceeded"))
    );
    fleet.admin.get("/fleet/x-fixture/room").expect(200);
}
