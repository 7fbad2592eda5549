//! A running module: what it gets of the server, and what its misbehaviour costs (itself only).

use std::time::Duration;

use fleetwright_tests::client::{Client, text};
use fleetwright_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

use crate::fixtures::{PATIENCE, start_with_fixture, wait_state};

fn misbehave(
    fleet: &fleetwright_tests::fleet::TestFleet,
    how: &str,
) -> fleetwright_tests::http::Answer {
    fleet
        .admin
        .post(&format!("/fleet/x-fixture/misbehave/{how}"), &json!({}))
}

#[test]
fn a_panic_answers_500_for_that_request_only() {
    let fleet = start_with_fixture();
    for how in ["panic", "drop-panic"] {
        let answer = misbehave(&fleet, how);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "internal"),
            "{how}"
        );
        fleet.admin.get("/fleet/x-fixture/room").expect(200);
    }
    assert_eq!(
        misbehave(&fleet, "panic-in-task").expect(200),
        json!({"task_failed": true})
    );
    fleet.admin.get("/hosts").expect(200);
    assert!(
        fleet.server.log().contains("asked to"),
        "the panic is in the server's log"
    );
}

#[test]
fn streams_flow_and_one_that_panics_ends_alone() {
    let fleet = start_with_fixture();
    let mut events = fleet.admin.events("/fleet/x-fixture/stream/good");
    let mut seen = Vec::new();
    while let Ok(Some(event)) = events.next_event() {
        seen.push(event.data);
    }
    assert_eq!(seen, ["event 0", "event 1", "event 2"]);

    let mut events = fleet.admin.events("/fleet/x-fixture/stream/panic");
    let mut count = 0;
    while let Ok(Some(_)) = events.next_event() {
        count += 1;
    }
    // What was written just before may go down with the connection.
    assert!(count <= 1, "it ends where it panics");
    fleet.admin.get("/fleet/x-fixture/room").expect(200);
}

#[test]
fn writes_are_guarded_audited_and_answered_the_same_when_repeated() {
    let fleet = start_with_fixture();
    let write = |key: &str, body: &Value| {
        let request = fleet
            .admin
            .request("POST", "/fleet/x-fixture/notes")
            .json(body);
        fleet.admin.send(&request.header("idempotency-key", key))
    };
    let note = json!({"id": 1, "text": "once"});
    assert_eq!(write("k", &note).expect(201), json!({"id": 1}));
    let again = write("k", &note);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(201), json!({"id": 1}));
    let other = write("k", &json!({"id": 2, "text": "twice"}));
    assert_eq!(
        (other.status, other.code().as_str()),
        (422, "idempotency-mismatch")
    );

    let told = misbehave(&fleet, "guard").expect(200);
    assert_eq!(
        told["host"],
        "the guard of operation 1 did not hold (0 rows)"
    );
    let notes = fleet.admin.get("/fleet/x-fixture/notes").expect(200);
    assert_eq!(
        notes["items"],
        json!([{"id": 1, "text": "once"}]),
        "a batch that failed wrote nothing"
    );

    let audit = fleet.admin.all("/audit");
    let writes = audit
        .iter()
        .filter(|row| row["action"] == "fixture.write")
        .count();
    assert_eq!(writes, 1);
}

#[test]
fn the_cores_tables_are_out_of_reach() {
    let fleet = start_with_fixture();
    for how in ["foreign-table", "foreign-write"] {
        let told = misbehave(&fleet, how).expect(200);
        assert_eq!(
            told["host"], "not allowed: the table `hosts` is not one of the module's own",
            "{how}"
        );
    }
}

#[test]
fn modules_call_each_other_as_the_caller_and_hear_why_one_is_not_there() {
    let fleet = start_with_fixture();
    let answer = misbehave(&fleet, "invoke").expect(200);
    assert_eq!(answer["blob"], json!([1, 2]));
    assert_eq!(answer["json"]["was"], "hello");
    let principal = answer["json"]["for"].as_str().unwrap_or_default();
    assert!(principal.starts_with("token:"), "{answer}");
    let absent = misbehave(&fleet, "invoke-absent");
    assert_eq!(
        (absent.status, absent.json()["reason"].as_str()),
        (402, Some("module_not_installed"))
    );
}

/// What a call in process answers: the status of the route, or of the problem that the call itself ended with.
fn carried(client: &Client, told: &Value) -> u16 {
    let answer = client.post("/fleet/x-fixture/carry", told);
    let of_route = answer.json()["status"].as_u64();
    of_route
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(answer.status)
}

#[test]
fn a_call_in_process_may_what_its_caller_may_now_and_no_more() {
    let fleet = start_with_fixture();
    let scoped = |role: &str, scopes: &[&str]| {
        let body = json!({"name": "carried", "role": role, "scopes": scopes});
        let made = fleet.admin.post("/tokens", &body).expect(201);
        let principal = format!("token:{}", text(&made, "id"));
        (fleet.admin.with_token(&text(&made, "token")), principal)
    };
    let (operator, _) = scoped("operator", &[]);
    let (narrow, _) = scoped("admin", &["fleet.x-fixture", "hosts:read"]);
    let (_, gone) = scoped("admin", &[]);
    let of_acme = json!({"name": "acme's", "role": "admin", "tenant": "acme"});
    let acme = fleet.admin.post("/tokens", &of_acme).expect(201);
    let acme = fleet.admin.with_token(&text(&acme, "token"));
    let told = acme.get("/fleet/x-fixture/room").expect(200);
    assert_eq!(
        (&told["tenant"], &told["role"]),
        (&json!("acme"), &json!("admin"))
    );
    let id = gone.trim_start_matches("token:");
    assert_eq!(fleet.admin.delete(&format!("/tokens/{id}")).status, 204);
    let admin = &fleet.admin;
    let cases = [
        (admin, json!({"route": "GET /audit"}), 200),
        (&operator, json!({"route": "GET /hosts"}), 200),
        (&operator, json!({"route": "GET /audit"}), 403),
        // A role is carried, and adds nothing; one that nobody knows is none.
        (
            &operator,
            json!({"route": "GET /audit", "role": "admin"}),
            403,
        ),
        (admin, json!({"route": "GET /audit", "role": "viewer"}), 403),
        (admin, json!({"route": "GET /hosts", "role": "root"}), 403),
        (admin, json!({"route": "GET /hosts", "role": ""}), 403),
        // Scopes hold, also where they were dropped on the way.
        (&narrow, json!({"route": "GET /hosts"}), 200),
        (&narrow, json!({"route": "GET /commands/x"}), 403),
        (
            &narrow,
            json!({"route": "GET /commands/x", "scopes": []}),
            403,
        ),
        (
            &narrow,
            json!({"route": "GET /audit", "scopes": ["audit"]}),
            403,
        ),
        (&narrow, json!({"route": "POST /modules/rescan"}), 403),
        (
            &narrow,
            json!({"route": "POST /fleet/x-fixture/notes"}),
            422,
        ),
        (
            admin,
            json!({"route": "GET /hosts", "scopes": ["users"]}),
            403,
        ),
        (
            admin,
            json!({"route": "GET /hosts", "scopes": ["unheard-of"]}),
            403,
        ),
        // Whoever is gone may nothing, whatever a module has kept of them; and nobody is somebody else's module.
        (
            admin,
            json!({"route": "GET /hosts", "principal": gone}),
            403,
        ),
        (
            admin,
            json!({"route": "GET /hosts", "principal": "user:nobody"}),
            403,
        ),
        (
            admin,
            json!({"route": "GET /hosts", "principal": "module:bulk"}),
            403,
        ),
        (
            admin,
            json!({"route": "GET /hosts", "principal": "module:fixture", "role": ""}),
            200,
        ),
        (
            admin,
            json!({"route": "GET /audit", "principal": "module:fixture"}),
            403,
        ),
        // A tenant is carried and takes away; whoever has one may not lose it on the way.
        (&acme, json!({"route": "GET /fleet/x-fixture/room"}), 200),
        (&acme, json!({"route": "GET /fleet/x-fixture/notes"}), 403),
        (&acme, json!({"route": "GET /hosts"}), 403),
        (&acme, json!({"method": "fixture.rule"}), 403),
        (
            &acme,
            json!({"route": "GET /fleet/x-fixture/room", "tenant": ""}),
            403,
        ),
        (
            &acme,
            json!({"route": "GET /fleet/x-fixture/room", "tenant": "other"}),
            403,
        ),
        (
            admin,
            json!({"route": "GET /fleet/x-fixture/room", "tenant": "acme"}),
            200,
        ),
        (admin, json!({"route": "GET /hosts", "tenant": "acme"}), 403),
        // A method asks what the route asks that it is declared with.
        (admin, json!({"method": "fixture.rule"}), 200),
        (
            admin,
            json!({"method": "fixture.rule", "role": "operator"}),
            403,
        ),
        (
            admin,
            json!({"method": "fixture.rule", "scopes": ["fleet.x-fixture:read"]}),
            403,
        ),
        (&operator, json!({"method": "fixture.rule"}), 403),
        (&operator, json!({"method": "fixture.echo"}), 200),
        (
            &operator,
            json!({"method": "fixture.echo", "role": "root"}),
            403,
        ),
    ];
    for (client, told, expected) in cases {
        assert_eq!(carried(client, &told), expected, "{told}");
    }
}

#[test]
fn a_module_that_blocks_its_thread_is_stuck_while_everything_else_lives() {
    let fleet = start_with_fixture();
    let blocked: Vec<_> = (0..4)
        .map(|_| {
            let client = fleet.admin.clone();
            std::thread::spawn(move || {
                client
                    .post("/fleet/x-fixture/misbehave/block", &json!({}))
                    .status
            })
        })
        .collect();
    let began = std::time::Instant::now();
    let mut took = Vec::new();
    wait_for("the module to be stuck", PATIENCE, || {
        let asked = std::time::Instant::now();
        fleet.admin.get("/hosts").expect(200);
        took.push(asked.elapsed());
        let state = crate::fixtures::listed(&fleet, "fixture")?;
        (state["state"] == "stuck").then_some(())
    });
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!(
        "stuck after {:?}; {} requests of the core meanwhile, p99 {p99:?}",
        began.elapsed(),
        took.len()
    );
    let answer = fleet.admin.get("/fleet/x-fixture/room");
    assert_eq!(
        (answer.status, answer.header("retry-after").is_some()),
        (503, true)
    );
    for thread in blocked {
        let status = thread.join().expect("a client");
        assert!(matches!(status, 200 | 503), "{status}");
    }
    wait_state(&fleet, "fixture", "running");
    wait_until(
        "its routes to answer again",
        Duration::from_secs(10),
        || fleet.admin.get("/fleet/x-fixture/room").status == 200,
    );
}
