//! What a host says of itself is a claim: it selects nothing until a person accepts it.

use std::borrow::Cow;
use std::path::Path;

use fleetwright_server::db::{Db, DbError, Dialect, MigrationText, Statement};
use fleetwright_server::hosts::host::Names;
use fleetwright_server::hosts::store;
use fleetwright_server::hosts::store::listing::{self, HostFilter};
use fleetwright_tests::client::text;
use fleetwright_tests::databases::{Engine, fresh_url};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::on_each_database;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

/// Whether each of these expressions selects the host.
#[track_caller]
fn selects(fleet: &TestFleet, host: &str, expressions: &[&str]) -> Vec<bool> {
    let selects = |expression: &&str| {
        let body = json!({ "expression": expression });
        let found = fleet.admin.post("/fleet/select", &body).expect(200);
        found["host_ids"].to_string().contains(host)
    };
    expressions.iter().map(selects).collect()
}

fn host(fleet: &TestFleet, id: &str) -> Value {
    fleet.admin.get(&format!("/hosts/{id}")).expect(200)
}

/// It says something else of itself from now on.
fn says(fleet: &mut TestFleet, agent: &str, part: &str, by: &str) {
    let agent = fleet.agent(agent);
    agent.stop();
    agent.reconfigure(part, by);
    agent.run();
}

const EXPRESSIONS: [&str; 5] = [
    "tags contains db",
    "attributes.env = prod",
    "fqdn = \"db-1.test\" or hostname = \"db-1\"",
    "agent_tags contains db",
    "agent_attributes.env = prod",
];

#[test]
fn what_a_host_claims_selects_it_only_once_a_person_has_accepted_it() {
    let mut fleet = Setup::pro().start();
    let token = fleet.admin.enrollment_token(1, true, &["web"]);
    let claims = "tags = [\"db\"]\nattributes = { env = \"prod\" }";
    let id = fleet.add_agent_with("low.test", &token, claims);
    says(
        &mut fleet,
        "low.test",
        "fqdn = \"low.test\"",
        "fqdn = \"db-1.test\"",
    );
    wait_until("the new name to be said", PATIENCE, || {
        host(&fleet, &id)["pending_names"]["fqdn"] == "db-1.test"
    });
    // Before: by its own names for its claims, and by nothing that people set.
    assert_eq!(
        selects(&fleet, &id, &EXPRESSIONS),
        [false, false, false, true, true]
    );
    assert_eq!(
        selects(&fleet, &id, &["tags contains web", "fqdn = \"low.test\""]),
        [true, true]
    );
    assert_eq!(fleet.admin.all("/hosts?tag=db").len(), 0);
    assert_eq!(
        fleet.admin.all("/hosts?q=db-1").len(),
        0,
        "nor is it found by it"
    );
    let accept = |body: Value| fleet.admin.post(&format!("/hosts/{id}/accept"), &body);
    assert_eq!(accept(json!({})).status, 422);
    // What was seen is accepted, or nothing.
    let stale = fleet.admin.request("POST", &format!("/hosts/{id}/accept"));
    let stale = stale
        .header("if-match", "\"1\"")
        .json(&json!({"tags": true}));
    assert_eq!(fleet.admin.send(&stale).status, 412);
    accept(json!({"tags": true})).expect(200);
    assert_eq!(
        selects(&fleet, &id, &EXPRESSIONS),
        [true, true, false, true, true]
    );
    let accepted = accept(json!({"names": true})).expect(200);
    assert_eq!(
        (&accepted["fqdn"], &accepted["pending_names"]),
        (&json!("db-1.test"), &Value::Null)
    );
    assert_eq!(selects(&fleet, &id, &EXPRESSIONS), [true; 5]);
    assert_eq!(fleet.admin.all("/audit?action=host.accept").len(), 2);
    // Taken over once: what people take away again stays away, and what it says next is a claim again.
    fleet
        .admin
        .patch(
            &format!("/hosts/{id}"),
            &json!({"tags": [], "attributes": {}}),
        )
        .expect(200);
    says(
        &mut fleet,
        "low.test",
        "tags = [\"db\"]",
        "tags = [\"db\", \"vault\"]",
    );
    wait_until("the new tag to be said", PATIENCE, || {
        host(&fleet, &id)["agent_tags"] == json!(["db", "vault"])
    });
    let after = [
        "tags contains db",
        "tags contains vault",
        "attributes.env = prod",
    ];
    assert_eq!(selects(&fleet, &id, &after), [false; 3]);
}

#[test]
fn approving_pins_the_name_takes_tags_only_if_asked_and_nothing_is_cut_in_silence() {
    let mut fleet = Setup::pro().start();
    let token = fleet.admin.enrollment_token(2, false, &[]);
    let ids =
        ["one.test", "two.test"].map(|name| fleet.add_agent_with(name, &token, "tags = [\"db\"]"));
    for (id, body) in ids.iter().zip([
        json!({"host_ids": [ids[0]]}),
        json!({"host_ids": [ids[1]], "accept_tags": true}),
    ]) {
        fleet.admin.post("/hosts/approve", &body).expect(200);
        assert_eq!(host(&fleet, id)["pending_names"], Value::Null);
    }
    assert_eq!(host(&fleet, &ids[0])["tags"], json!([]));
    assert_eq!(host(&fleet, &ids[1])["tags"], json!(["db"]));
    // More than is kept is said to be cut, and is not accepted.
    let many: Vec<String> = (0..65).map(|number| format!("t{number:02}")).collect();
    says(
        &mut fleet,
        "one.test",
        "tags = [\"db\"]",
        &format!("tags = {many:?}"),
    );
    wait_until("the many tags", PATIENCE, || {
        host(&fleet, &ids[0])["agent_cut"] == json!(["tags"])
    });
    let refused = fleet
        .admin
        .post(&format!("/hosts/{}/accept", ids[0]), &json!({"tags": true}));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (422, "claims-cut")
    );
    let unknown = fleet.admin.post(
        &format!("/hosts/{}/approve", ids[0]),
        &json!({"tags": true}),
    );
    assert_eq!(unknown.status, 422);
}

#[test]
fn with_live_names_a_host_is_called_what_it_says() {
    let mut fleet = Setup::community().with("host_names = \"live\"").start();
    let id = fleet.add_agent("low.test", &[]);
    says(
        &mut fleet,
        "low.test",
        "fqdn = \"low.test\"",
        "fqdn = \"db-1.test\"",
    );
    wait_until("the new name", PATIENCE, || {
        host(&fleet, &id)["fqdn"] == "db-1.test"
    });
    assert_eq!(host(&fleet, &id)["pending_names"], Value::Null);
    assert_eq!(text(&fleet.admin.all("/hosts?q=db-1")[0], "id"), id);
}

/// The core's migrations up to a version, as an earlier release has applied them.
fn migrations(dialect: Dialect, last: i64) -> Vec<MigrationText> {
    let name = match dialect {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../migrations")
        .join(name);
    let mut found: Vec<MigrationText> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            MigrationText {
                version: name[..4].parse().unwrap(),
                name: Cow::Owned(name),
                sql: Cow::Owned(std::fs::read_to_string(path).unwrap()),
            }
        })
        .filter(|text| text.version <= last)
        .collect();
    found.sort_by_key(|text| text.version);
    found
}

on_each_database! {
    async fn approved_hosts_keep_at_an_upgrade_what_selected_them_and_others_do_not(database: TestDatabase) {
        let dialect = database.db.dialect();
        let (url, _folder) = fresh_url(match dialect {
            Dialect::Sqlite => Engine::Sqlite,
            Dialect::Postgres => Engine::Postgres,
        });
        let db = Db::open(&url).await.unwrap();
        db.migrate("_mig_core", migrations(dialect, 12)).await.unwrap();
        let ids = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)];
        for (id, approval) in ids.into_iter().zip(["approved", "pending"]) {
            let insert = "INSERT INTO hosts (id, revision, approval_status, status, created_at, search_name, fqdn, tags, agent_tags, \
                 attributes, agent_attributes) VALUES ($1, 1, $2, 'offline', 1, 'web-1', 'web-1', '[\"web\"]', '[\"db\",\"web\"]', \
                 '{\"site\":\"hq\"}', '{\"site\":\"claimed\",\"rack\":\"7\"}')";
            let write = db.write(move |tx| {
                tx.execute(Statement::new(insert).bind(id).bind(approval))?;
                for tag in ["db", "web"] {
                    tx.execute(Statement::new("INSERT INTO host_tags (tag, host_id) VALUES ($1, $2)").bind(tag).bind(id))?;
                }
                Ok::<(), DbError>(())
            });
            write.await.unwrap();
        }
        db.migrate_core().await.unwrap();
        let [approved, pending] = ids.map(fleetwright_protocol::HostId);
        let host = store::get(&db, approved).await.unwrap().unwrap();
        assert_eq!(host.labels.tags, ["db", "web"]);
        assert_eq!(json!(host.labels.attributes), json!({"site": "hq", "rack": "7"}));
        assert_eq!(host.pinned, Some(Names { fqdn: Some("web-1".to_owned()), hostname: None }));
        let host = store::get(&db, pending).await.unwrap().unwrap();
        assert_eq!((json!(host.labels.tags), host.pinned), (json!(["web"]), None));
        let tagged = HostFilter { tag: Some("db".to_owned()), ..HostFilter::default() };
        let found = listing::list(&db, &tagged, None, 10).await.unwrap();
        assert_eq!(found.iter().map(|host| host.id).collect::<Vec<_>>(), [approved]);
        db.close().await;
    }
}
