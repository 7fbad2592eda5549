//! The audit log: what was changed, removed or cut off at its beginning is found; failed sign-ins are in it.

use std::process::Output;

use fleetwright_server::audit::store::{self, Anchor, AuditRow};
use fleetwright_server::audit::verify::{self, ChainCheck, Earlier, Finding, HeadState};
use fleetwright_server::audit::{self, AuditContext, GENESIS, heads};
use fleetwright_server::db::{Db, DbError, Dialect, Statement};
use fleetwright_tests::client::Client;
use fleetwright_tests::databases::{Engine, fresh_url};
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::on_each_database;
use fleetwright_tests::server_process::{ADMIN, ADMIN_PASSWORD};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

const START_US: i64 = 1_800_000_000_000_000;

fn engine_of(db: &Db) -> Engine {
    match db.dialect() {
        Dialect::Sqlite => Engine::Sqlite,
        Dialect::Postgres => Engine::Postgres,
    }
}

async fn append(db: &Db, count: i64, at_us: i64) {
    for number in 0..count {
        let entry = audit::entry("thing.change", "thing", number, json!({"number": number}));
        let write =
            db.write(move |tx| audit::append(tx, at_us, &AuditContext::system("test"), &entry));
        write.await.expect("a row");
    }
}

async fn execute(db: &Db, sql: &str) -> u64 {
    let sql = sql.to_owned();
    let write = db.write(move |tx| tx.execute(Statement::new(sql)));
    let changed: Result<u64, DbError> = write.await;
    changed.expect("it can be done")
}

async fn all(db: &Db, statements: &[&str]) {
    for sql in statements {
        execute(db, sql).await;
    }
}

async fn check(db: &Db) -> ChainCheck {
    verify::run(db).await.expect("it can be read")
}

/// What somebody with the whole program and no key can do: every row's digest anew.
async fn make_anew(db: &Db, change: fn(&mut AuditRow)) {
    let rows = store::after(db, 0, 10_000).await.expect("it can be read");
    let mut previous = GENESIS;
    let mut at = Anchor {
        sequence: 0,
        digest: GENESIS,
    };
    for mut row in rows {
        change(&mut row);
        previous = row.plain_digest(&previous);
        at = Anchor {
            sequence: row.sequence,
            digest: previous,
        };
        let write = db.write(move |tx| {
            tx.execute(
                Statement::new(
                    "UPDATE audit SET principal_name = $1, digest = $2 WHERE sequence = $3",
                )
                .bind(row.context.principal_name)
                .bind(previous)
                .bind(row.sequence),
            )
        });
        let _: u64 = write
            .await
            .map_err(|error: DbError| error)
            .expect("written");
    }
    let write = db.write(move |tx| {
        tx.execute(
            Statement::new(
                "UPDATE audit_anchors SET digest = $1 WHERE name = 'head' AND sequence = $2",
            )
            .bind(at.digest)
            .bind(at.sequence),
        )
    });
    let _: u64 = write
        .await
        .map_err(|error: DbError| error)
        .expect("written");
}

const TABLES: [&str; 3] = ["audit", "audit_anchors", "audit_heads"];

async fn keep_copies(db: &Db) {
    for table in TABLES {
        execute(
            db,
            &format!("CREATE TABLE copy_of_{table} AS SELECT * FROM {table}"),
        )
        .await;
    }
}

async fn put_back(db: &Db) {
    for table in TABLES {
        execute(db, &format!("DELETE FROM {table}")).await;
        execute(
            db,
            &format!("INSERT INTO {table} SELECT * FROM copy_of_{table}"),
        )
        .await;
    }
}

on_each_database! {
    async fn whatever_is_done_to_the_log_without_its_key_is_found(database: TestDatabase) {
        let db = &database.db;
        append(db, 120, START_US).await;
        heads::stamp(db, START_US).await.unwrap();
        append(db, 30, START_US + 1).await;
        assert_eq!(check(db).await.findings, []);
        keep_copies(db).await;
        let floor_to = |sequence: i64| format!(
            "UPDATE audit_anchors SET sequence = {sequence}, digest = (SELECT digest FROM audit WHERE sequence = {sequence}) WHERE name = 'floor'"
        );
        let head_to_140 = "UPDATE audit_anchors SET sequence = 140, digest = (SELECT digest FROM audit WHERE sequence = 140) WHERE name = 'head'";
        let (to_100, to_120) = (floor_to(100), floor_to(120));
        let seal_of_head = "UPDATE audit_anchors SET sequence = 150, digest = (SELECT digest FROM audit WHERE sequence = 150), \
             mac = (SELECT mac FROM audit_anchors AS other WHERE other.name = 'head') WHERE name = 'floor'";
        let zero = match db.dialect() {
            Dialect::Sqlite => "UPDATE audit_anchors SET sequence = 0, digest = zeroblob(32), mac = NULL, key_id = NULL",
            Dialect::Postgres => "UPDATE audit_anchors SET sequence = 0, digest = decode(repeat('00', 32), 'hex'), mac = NULL, key_id = NULL",
        };
        let cases: [(&str, Vec<&str>, Finding); 9] = [
            ("one altered", vec!["UPDATE audit SET principal_name = 'nobody' WHERE sequence = 50"], Finding::Altered { sequence: 50 }),
            ("one deleted", vec!["DELETE FROM audit WHERE sequence = 50"], Finding::Missing { first: 50, last: 50 }),
            ("the first 100 deleted", vec!["DELETE FROM audit WHERE sequence <= 100"], Finding::Missing { first: 1, last: 100 }),
            ("the same, and the floor moved", vec![&to_100, "DELETE FROM audit WHERE sequence <= 100"], Finding::Cut { last: 100 }),
            ("up to a signed head", vec![&to_120, "DELETE FROM audit WHERE sequence <= 120"], Finding::Cut { last: 120 }),
            ("the head's seal on the floor", vec![seal_of_head, "DELETE FROM audit WHERE sequence <= 150"], Finding::Cut { last: 150 }),
            ("the end cut off", vec![head_to_140, "DELETE FROM audit WHERE sequence > 140"], Finding::HeadForged { sequence: 140 }),
            ("a row put in at the end", vec![
                "INSERT INTO audit SELECT 151, at, request_id, principal, principal_name, tenant, address, action, target_kind, target_id, detail, digest FROM audit WHERE sequence = 7",
                "UPDATE audit_anchors SET sequence = 151, digest = (SELECT digest FROM audit WHERE sequence = 7) WHERE name = 'head'",
            ], Finding::Altered { sequence: 151 }),
            ("everything", vec![zero, "DELETE FROM audit", "DELETE FROM audit_heads"], Finding::HeadForged { sequence: 0 }),
        ];
        for (what, statements, expected) in cases {
            all(db, &statements).await;
            let found = check(db).await.findings;
            assert!(found.contains(&expected), "{what}: {found:?}");
            put_back(db).await;
            assert_eq!(check(db).await.findings, [], "{what} was undone");
        }
        // Nothing later hides that the end was cut off.
        all(db, &[head_to_140, "DELETE FROM audit WHERE sequence > 140"]).await;
        append(db, 3, START_US + 2).await;
        assert_eq!(check(db).await.findings, [Finding::Broken { sequence: 141 }]);
        put_back(db).await;
        make_anew(db, |row| row.context.principal_name = "somebody else".to_owned()).await;
        assert_eq!(check(db).await.findings.len(), 100, "as many as are told");
    }

    async fn an_earlier_head_shows_what_whoever_has_the_key_or_an_older_copy_has_done(database: TestDatabase) {
        let db = &database.db;
        append(db, 3, START_US).await;
        let old = heads::current(db, START_US).await.unwrap();
        append(db, 7, START_US).await;
        let later = heads::current(db, START_US).await.unwrap();
        let against = async |db: &Db, head: &fleetwright_signing::AuditHead| {
            let earlier = Earlier { head: head.clone(), kept_since_us: START_US };
            let report = verify::run_against(db, Some(earlier)).await.unwrap();
            (report.head.unwrap(), report.findings)
        };
        for head in [&old, &later] {
            assert_eq!(against(db, head).await, (HeadState::Matches, vec![]));
        }
        let (url, _folder) = fresh_url(engine_of(db));
        let other = Db::open(&url).await.unwrap();
        other.migrate_core().await.unwrap();
        // With the key and no row of the real log: everything is made anew, and verifies.
        audit::open(&other, database.keys.path(), START_US).await.unwrap();
        append(&other, 5, START_US + 99).await;
        assert_eq!(check(&other).await.findings, []);
        let (state, found) = against(&other, &old).await;
        assert_eq!((state, found), (HeadState::Contradicted, vec![Finding::Replaced { sequence: 3 }]));
        let (_, found) = against(&other, &later).await;
        assert_eq!(found, [Finding::Missing { first: 6, last: 10 }]);
        // The head of every hour in the data folder shows it without anybody's help.
        heads::stamp(db, START_US).await.unwrap();
        assert_eq!(check(&other).await.findings, [Finding::Missing { first: 6, last: 10 }]);
        append(&other, 5, START_US + 99).await;
        assert_eq!(check(&other).await.findings, [Finding::Replaced { sequence: 10 }]);
        assert!(heads::stamp(&other, START_US).await.is_err(), "and the one that shows it is kept");
        assert_eq!(check(&other).await.findings, [Finding::Replaced { sequence: 10 }]);
        other.close().await;
    }

    async fn retention_deletes_only_what_verifies_and_only_up_to_a_signed_head(database: TestDatabase) {
        let db = &database.db;
        append(db, 10, START_US).await;
        heads::stamp(db, START_US).await.unwrap();
        append(db, 5, START_US).await;
        let sweep = async || while audit::sweep(db, START_US).await.unwrap() {};
        keep_copies(db).await;
        // Dated back, so that retention may take it along.
        execute(db, "UPDATE audit SET at = 1 WHERE sequence <= 12").await;
        sweep().await;
        assert_eq!(store::after(db, 0, 100).await.unwrap().len(), 15);
        assert!(check(db).await.findings.contains(&Finding::Altered { sequence: 1 }));
        put_back(db).await;
        // A signed head that is none.
        all(db, &["UPDATE audit_heads SET sequence = 12, digest = (SELECT digest FROM audit WHERE sequence = 12)"]).await;
        let _ = audit::sweep(db, i64::MAX).await.unwrap();
        assert_eq!(store::after(db, 0, 100).await.unwrap().len(), 15);
        put_back(db).await;
        // The floor moved by somebody else: nothing is deleted at their word.
        execute(db, "UPDATE audit_anchors SET sequence = 14 WHERE name = 'floor'").await;
        let _ = audit::sweep(db, i64::MAX).await.unwrap();
        assert_eq!(store::after(db, 0, 100).await.unwrap().len(), 15);
        put_back(db).await;
        while audit::sweep(db, i64::MAX).await.unwrap() {}
        let report = check(db).await;
        assert_eq!((report.floor, report.rows_checked, report.findings), (10, 5, vec![]));
    }

    async fn a_log_from_before_there_was_a_key_is_kept_sealed_and_named(database: TestDatabase) {
        let (url, _folder) = fresh_url(engine_of(&database.db));
        let db = Db::open(&url).await.unwrap();
        db.migrate_core().await.unwrap();
        plain_rows(&db, 4).await;
        let keys = tempfile::tempdir().unwrap();
        audit::open(&db, keys.path(), START_US).await.unwrap();
        append(&db, 2, START_US).await;
        let report = check(&db).await;
        // The row in between says which key it is.
        assert_eq!((report.unkeyed_until, report.last_sequence, report.findings), (Some(4), 7, vec![]));
        keep_copies(&db).await;
        make_anew(&db, |row| row.context.principal_name = "somebody else".to_owned()).await;
        assert!(check(&db).await.findings.contains(&Finding::Altered { sequence: 4 }));
        put_back(&db).await;
        // Whoever passes the whole log off as one without a key is found at the next start.
        all(&db, &["UPDATE audit_anchors SET mac = NULL, key_id = NULL", "DELETE FROM audit WHERE sequence > 4",
            "UPDATE audit_anchors SET sequence = 3, digest = (SELECT digest FROM audit WHERE sequence = 3) WHERE name = 'head'"]).await;
        db.close().await;
        let again = Db::open(&url).await.unwrap();
        audit::open(&again, keys.path(), START_US).await.unwrap();
        let found = check(&again).await.findings;
        assert!(found.contains(&Finding::HeadForged { sequence: 3 }), "{found:?}");
        again.close().await;
    }

    async fn a_key_that_is_gone_or_another_is_told_and_the_log_is_not_called_valid(database: TestDatabase) {
        let db = &database.db;
        append(db, 4, START_US).await;
        let head = heads::current(db, START_US).await.unwrap();
        let reopened = async |keys: &std::path::Path| {
            let db = Db::open(&database.url).await.unwrap();
            audit::open(&db, keys, START_US).await.unwrap();
            db
        };
        // Gone: the server starts with another one, says so in the log, and what was before is not vouched for.
        let elsewhere = tempfile::tempdir().unwrap();
        let lost = reopened(elsewhere.path()).await;
        append(&lost, 2, START_US).await;
        let report = check(&lost).await;
        assert_eq!(report.findings, [Finding::Unverifiable { first: 1, last: 4 }]);
        assert_eq!((report.unkeyed_until, report.last_sequence), (None, 7));
        let earlier = Earlier { head: head.clone(), kept_since_us: 0 };
        let report = verify::run_against(&lost, Some(earlier)).await.unwrap();
        assert_eq!(report.head, Some(HeadState::Matches), "an earlier head holds them fast all the same");
        assert!(report.findings.contains(&Finding::OtherKey { key_id: head.key_id.clone() }));
        // What cannot be verified any more is still deleted when its time is over.
        heads::stamp(&lost, START_US).await.unwrap();
        append(&lost, 1, START_US).await;
        while audit::sweep(&lost, i64::MAX).await.unwrap() {}
        assert_eq!(check(&lost).await.findings, []);
        lost.close().await;
        // Another one than the log was written with.
        let changed = reopened(database.keys.path()).await;
        let found = check(&changed).await.findings;
        assert!(found.contains(&Finding::HeadForged { sequence: 8 }), "{found:?}");
        append(&changed, 1, START_US).await;
        let found = check(&changed).await.findings;
        assert!(found.contains(&Finding::Broken { sequence: 9 }), "{found:?}");
        assert!(heads::current(db, START_US).await.is_ok(), "its last row is this key's");
        changed.close().await;
    }
}

/// Rows as an earlier release wrote them.
async fn plain_rows(db: &Db, count: i64) {
    let mut previous = GENESIS;
    for sequence in 1..=count {
        let mut row = AuditRow {
            sequence,
            at_us: START_US,
            context: AuditContext::system("test"),
            action: "thing.change".to_owned(),
            target_kind: "thing".to_owned(),
            target_id: sequence.to_string(),
            detail: "{}".to_owned(),
            digest: Vec::new(),
        };
        previous = row.plain_digest(&previous);
        row.digest = previous.to_vec();
        let insert = "INSERT INTO audit (sequence, at, request_id, principal, principal_name, tenant, address, action, \
             target_kind, target_id, detail, digest) VALUES ($1, $2, '', $3, $4, NULL, '', $5, $6, $7, $8, $9)";
        let write = db.write(move |tx| {
            tx.execute(
                Statement::new(insert)
                    .bind(row.sequence)
                    .bind(row.at_us)
                    .bind(row.context.principal)
                    .bind(row.context.principal_name)
                    .bind(row.action)
                    .bind(row.target_kind)
                    .bind(row.target_id)
                    .bind(row.detail)
                    .bind(row.digest),
            )?;
            tx.execute(
                Statement::new(
                    "UPDATE audit_anchors SET sequence = $1, digest = $2 WHERE name = 'head'",
                )
                .bind(sequence)
                .bind(previous),
            )
        });
        let _: u64 = write
            .await
            .map_err(|error: DbError| error)
            .expect("written");
    }
}

fn fleetwright(fleet: &TestFleet, words: &[&str]) -> Output {
    fleet
        .command_line()
        .args(words)
        .output()
        .expect("it can be run")
}

/// What somebody does to the database of a stopped server.
fn tamper(fleet: &TestFleet, statements: &[&str]) {
    let file = fleet.server.settings.data_dir().join("fleetwright.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let db = Db::open(&format!("sqlite://{}", file.display()))
            .await
            .expect("it opens");
        all(&db, statements).await;
        db.close().await;
    });
}

#[test]
fn a_kept_head_shows_at_the_command_line_that_the_beginning_was_cut_off() {
    let mut fleet = Setup::community().start();
    for _ in 0..5 {
        let _ = fleet.admin.token_of_role("viewer");
    }
    let kept = fleet.path("head.json").display().to_string();
    let code = |output: &Output| output.status.code();
    assert_eq!(
        code(&fleetwright(&fleet, &["audit", "head", "--out", &kept])),
        Some(0)
    );
    assert_eq!(
        code(&fleetwright(&fleet, &["audit", "verify", "--head", &kept])),
        Some(0)
    );
    assert_eq!(
        code(&fleetwright(
            &fleet,
            &["audit", "check-head", &kept, "--key", &kept]
        )),
        Some(0)
    );
    let viewer = fleet.admin.token_of_role("viewer");
    assert_eq!(viewer.get("/audit/head").status, 403);
    let broken: Value = serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
    let path = format!(
        "/audit/verify?sequence={}&digest={}&row_at={}&at={}&key_id={}&signature={}",
        broken["sequence"].as_i64().unwrap() - 1,
        broken["digest"].as_str().unwrap(),
        broken["row_at"].as_str().unwrap(),
        broken["at"].as_str().unwrap(),
        broken["key_id"].as_str().unwrap(),
        broken["signature"].as_str().unwrap(),
    );
    assert_eq!(fleet.admin.get(&path).code(), "head-not-signed");
    assert_eq!(
        fleet.admin.get("/audit/verify?sequence=1").code(),
        "head-incomplete"
    );
    fleet.server.stop();
    tamper(
        &fleet,
        &[
            "UPDATE audit_anchors SET sequence = 3, digest = (SELECT digest FROM audit WHERE sequence = 3) WHERE name = 'floor'",
            "DELETE FROM audit WHERE sequence <= 3",
        ],
    );
    fleet.server.launch();
    fleet.server.wait_ready();
    let report = fleet.admin.get("/audit/verify").expect(200);
    assert_eq!(
        (&report["valid"], &report["findings"]),
        (&json!(false), &json!([{"kind": "cut", "last": 3}]))
    );
    let told = fleetwright(&fleet, &["audit", "verify", "--head", &kept]);
    assert_eq!(code(&told), Some(1), "{told:?}");
}

#[test]
fn sign_ins_that_failed_are_in_the_log_and_a_flood_of_them_is_few_rows() {
    let fleet = Setup::community()
        .with("[limits]\nfailed_logins_per_minute = 30")
        .start();
    let anybody = Client::anonymous(fleet.server.listen);
    let sign_in = |name: &str| {
        let body = json!({"username": name, "password": "wrong wrong wrong"});
        anybody.post("/auth/login", &body).status
    };
    for number in 0..20 {
        assert_eq!(sign_in(ADMIN), 401);
        assert_eq!(sign_in(&format!("nobody-{number}")), 401);
    }
    assert_eq!(
        anybody
            .post("/auth/refresh", &json!({"refresh_token": "fwr_unknown"}))
            .status,
        401
    );
    let rows = |action: &str| fleet.admin.all(&format!("/audit?action={action}"));
    let found = wait_for("the first rows", PATIENCE, || {
        let found = rows("session.refused");
        (found.len() >= 2).then_some(found)
    });
    // At once one for the administrator's name and one for all unknown ones; the rest when the minute is over.
    assert!(found.len() <= 4, "{found:?}");
    let of_admin = found
        .iter()
        .find(|row| row["detail"]["name"] == ADMIN)
        .expect("a row");
    assert_eq!(of_admin["target_kind"], "user");
    assert_eq!(of_admin["address"], "127.0.0.1");
    assert_eq!(of_admin["principal"], "anonymous");
    assert!(
        !json!(found).to_string().contains("nobody-"),
        "a name may be a mistyped password"
    );
    wait_for("the refresh", PATIENCE, || {
        (rows("session.refresh_refused").len() == 1).then_some(())
    });
    assert_eq!(fleet.admin.get("/audit/verify").expect(200)["valid"], true);
    Client::login(fleet.server.listen, ADMIN, ADMIN_PASSWORD);
}
