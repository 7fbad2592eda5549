//! A token belongs to a user and dies with them; those of before belong to whom can be found.

use std::time::Duration;

use fleetwright_server::db::{Db, DbError, Dialect, MigrationText, Statement};
use fleetwright_tests::client::{Client, text};
use fleetwright_tests::databases::{Engine, fresh_url};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::load::crowd::Crowd;
use serde_json::json;
use uuid::Uuid;

use super::{PASSWORD, change, token, user};

/// Whether hosts can enroll with it.
fn enrolls(fleet: &TestFleet, enrollment: &str, name: &str) -> bool {
    let crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let enrolling = || crowd.enroll(enrollment, name, 1);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(enrolling)).is_ok()
}

fn die_with_their_owner(fleet: &TestFleet) {
    let admin = &fleet.admin;
    let log_in = |name: &str| Client::login(fleet.server.listen, name, PASSWORD);
    let may = |client: &Client| (client.get("/users").status, client.get("/hosts").status);
    let role = |id: &str| {
        let listed = admin.all("/tokens").into_iter().find(|one| one["id"] == id);
        listed.map(|one| {
            (
                text(&one, "role"),
                text(&one, "effective_role"),
                text(&one["owner"], "name"),
            )
        })
    };
    let shown = |role: &str, effective: &str, owner: &str| {
        Some((role.to_owned(), effective.to_owned(), owner.to_owned()))
    };

    let anna = user(admin, "anna", "admin");
    let (own, own_id) = token(&log_in("anna"), json!({}));
    let (made, made_id) = token(&own, json!({"role": "viewer"}));
    let (deep, deep_id) = token(&own, json!({}));
    let enrollment = deep.enrollment_token(10, true, &[]);
    assert_eq!(
        (may(&own), may(&made), may(&deep)),
        ((200, 200), (403, 200), (200, 200))
    );
    assert_eq!(role(&deep_id), shown("admin", "admin", "anna"));
    assert!(enrolls(fleet, &enrollment, "first"));

    change(admin, &anna, json!({"role": "operator"}));
    assert_eq!(
        (may(&own), may(&made), may(&deep)),
        ((403, 200), (403, 200), (403, 200))
    );
    assert_eq!(role(&own_id), shown("admin", "operator", "anna"));
    assert_eq!(role(&made_id), shown("viewer", "viewer", "anna"));
    assert!(
        !enrolls(fleet, &enrollment, "second"),
        "who may no longer make one lets nobody in"
    );
    change(admin, &anna, json!({"role": "admin"}));
    assert_eq!(may(&deep), (200, 200));
    assert!(enrolls(fleet, &enrollment, "third"));

    change(admin, &anna, json!({"disabled": true}));
    let all = [&own, &made, &deep];
    assert_eq!(all.map(may), [(401, 401); 3]);
    assert_eq!(role(&own_id), None);
    change(admin, &anna, json!({"disabled": false}));
    assert_eq!(all.map(may), [(401, 401); 3], "nothing comes back");
    assert!(!enrolls(fleet, &enrollment, "fourth"));

    let (own, _) = token(&log_in("anna"), json!({}));
    let (made, _) = token(&own, json!({}));
    assert_eq!(admin.delete(&format!("/users/{anna}")).status, 204);
    user(admin, "anna", "admin");
    assert_eq!(
        [&own, &made].map(may),
        [(401, 401); 2],
        "another anna is somebody else"
    );

    // What is revoked takes along what it has made, and nobody else's.
    let (root, root_id) = token(&log_in("anna"), json!({}));
    let (child, _) = token(&root, json!({}));
    let (grandchild, _) = token(&child, json!({}));
    let (sibling, _) = token(&log_in("anna"), json!({}));
    let enrollment = grandchild.enrollment_token(1, false, &[]);
    assert_eq!(admin.delete(&format!("/tokens/{root_id}")).status, 204);
    assert_eq!(
        [&root, &child, &grandchild, &sibling].map(may),
        [(401, 401), (401, 401), (401, 401), (200, 200)]
    );
    assert!(!enrolls(fleet, &enrollment, "fifth"));
    let audited = admin
        .all("/audit")
        .into_iter()
        .filter(|row| row["action"] == "token.revoke");
    assert!(
        audited
            .map(|row| row["detail"]["tokens_revoked"].clone())
            .any(|count| count == 3)
    );
}

#[test]
fn tokens_die_with_their_owner_on_sqlite() {
    die_with_their_owner(&Setup::community().start());
}

#[test]
fn tokens_die_with_their_owner_on_postgres() {
    die_with_their_owner(&Setup::community().on(Engine::Postgres).start());
}

/// The migrations as they were before tokens had owners.
fn before_owners(dialect: Dialect) -> Vec<MigrationText> {
    let folder = match dialect {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgres",
    };
    let folder = fleetwright_tests::source::workspace()
        .join("migrations")
        .join(folder);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the migrations are there")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.as_str() < "0008")
        .collect();
    names.sort();
    let text = |name: &String| MigrationText {
        version: name[..4].parse().unwrap(),
        name: name.trim_end_matches(".sql").to_owned().into(),
        sql: std::fs::read_to_string(folder.join(name)).unwrap().into(),
    };
    names.iter().map(text).collect()
}

async fn owners_after_migrating(db: Db) {
    db.migrate("_mig_core", before_owners(db.dialect()))
        .await
        .expect("the old ones");
    let users = [(1_u128, "admin", 0), (2, "operator", 0), (3, "admin", 1)];
    // Id, role, made by, the owner it gets.
    let kinds = |id: u128| format!("user:{}", Uuid::from_u128(id));
    let by_token = |id: u128| format!("token:{}", Uuid::from_u128(id));
    let tokens = [
        (11_u128, "admin", kinds(1), Some(1_u128)),
        (12, "operator", by_token(11), Some(1)),
        (13, "viewer", by_token(12), Some(1)),
        (14, "operator", kinds(2), Some(2)),
        (15, "viewer", kinds(2), Some(2)),
        // Its maker was demoted since, disabled, deleted; or is a token of which nothing is known.
        (16, "admin", kinds(2), None),
        (17, "viewer", kinds(3), None),
        (18, "viewer", kinds(4), None),
        (19, "viewer", by_token(99), None),
        (20, "viewer", "system:x".to_owned(), None),
        (21, "viewer", "user:damaged".to_owned(), None),
    ];
    let written = tokens.clone();
    db.write(move |tx| -> Result<(), DbError> {
        for (id, role, disabled) in users {
            let sql = "INSERT INTO users (id, name, role, disabled, created_at, updated_at, password_hash) VALUES ($1, $2, $3, $4, 0, 0, '')";
            tx.execute(Statement::new(sql).bind(Uuid::from_u128(id)).bind(id.to_string()).bind(role).bind(disabled))?;
        }
        for (id, role, by, _) in written {
            let sql = "INSERT INTO api_tokens (id, name, token_sha256, prefix, role, scopes, created_by, created_at) \
                       VALUES ($1, 't', $2, 'fwt_', $3, '[]', $4, 0)";
            let digest = Uuid::from_u128(id).as_bytes().to_vec();
            tx.execute(Statement::new(sql).bind(Uuid::from_u128(id)).bind(digest).bind(role).bind(by))?;
        }
        Ok(())
    })
    .await
    .expect("an old database");
    db.migrate_core().await.expect("the new one");
    for (id, role, by, owner) in tokens {
        let found = fleetwright_server::auth::store::tokens::get(&db, Uuid::from_u128(id))
            .await
            .unwrap()
            .expect("it is there");
        assert_eq!(
            found.owner.id(),
            owner.map(Uuid::from_u128),
            "{id} made by {by}"
        );
        let now = found.effective_role().map(|now| now.as_str());
        assert_eq!(now, Some(role), "{id} made by {by} works as before");
    }
}

#[test]
fn old_tokens_work_as_before_and_belong_to_whom_can_be_found() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (url, _folder) = fresh_url(engine);
        runtime.block_on(async {
            let db = Db::open(&url).await.expect("the database opens");
            owners_after_migrating(db.clone()).await;
            db.close().await;
        });
    }
}
