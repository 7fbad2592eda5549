//! Users, sessions, API tokens, the audit chain and idempotency records on both databases.

mod licence;

use std::sync::Arc;
use std::time::Duration;

use fleetwright_plugin_api::wire::AuditEntry;
use fleetwright_server::audit::heads;
use fleetwright_server::audit::verify::{self, Finding};
use fleetwright_server::audit::{self, AuditContext, store as audit_store};
use fleetwright_server::auth::actions::users::{self, NewUser, UserChange};
use fleetwright_server::auth::actions::{sessions, tokens};
use fleetwright_server::auth::{Auth, AuthError, Principal, Role, delegation, first_start, store};
use fleetwright_server::clock::{Clock as _, ManualClock};
use fleetwright_server::config::Limits;
use fleetwright_server::db::{Db, DbError, Statement};
use fleetwright_server::http::etag::IfMatch;
use fleetwright_server::http::idempotency::{self, Begin, Idempotency};
use fleetwright_tests::on_each_database;
use serde_json::json;
use uuid::Uuid;

const START_US: i64 = 1_800_000_000_000_000;
const PASSWORD: &str = "a long enough password";
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The authentication part with a first administrator.
struct Desk {
    auth: Auth,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn open(db: &Db) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START_US);
        let auth = Auth::start(db.clone(), clock.clone(), folder.path(), &Limits::default());
        let desk = Self {
            auth: auth.unwrap(),
            clock,
            _folder: folder,
        };
        let made = first_start::ensure_admin(&desk.auth, Some(PASSWORD)).await;
        assert!(made.unwrap().is_some());
        desk
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<sessions::SessionView, AuthError> {
        let (name, password) = (name.to_owned(), password.to_owned());
        sessions::log_in(&self.auth, "r", "127.0.0.1", name, password).await
    }

    async fn refresh(&self, token: &str) -> Result<sessions::SessionView, AuthError> {
        sessions::refresh(&self.auth, "r", "127.0.0.1", token).await
    }

    async fn knows(&self, bearer: &str) -> bool {
        let found = self
            .auth
            .identities
            .find(bearer, self.clock.now())
            .await
            .unwrap();
        found.is_some()
    }

    /// Who makes tokens and users.
    async fn admin(&self) -> Principal {
        let found = store::by_name(&self.auth.db, "admin").await.unwrap();
        let id = found.expect("the first administrator").0.id;
        let found = delegation::of(&self.auth.db, &format!("user:{id}"), START_US).await;
        found.unwrap().expect("they may log in")
    }

    async fn new_token(&self, expires_in_seconds: Option<u64>) -> (Uuid, String) {
        let new = tokens::NewToken {
            name: "ci".to_owned(),
            role: Role::Operator,
            scopes: vec!["hosts:read".to_owned(), "fleet.bulk".to_owned()],
            tenant: None,
            expires_in_seconds,
        };
        let (by, context) = (self.admin().await, AuditContext::system("test"));
        let made = tokens::create(&self.auth, by, context, None, new).await;
        let body: serde_json::Value = serde_json::from_str(&made.unwrap().body).unwrap();
        let id = body["id"].as_str().unwrap().parse().unwrap();
        (id, body["token"].as_str().unwrap().to_owned())
    }
}

async fn append(db: &Db, count: i64, from_us: i64) {
    for number in 0..count {
        let entry = entry(number);
        let write = db.write(move |tx| {
            let context = AuditContext::system("test");
            audit::append(tx, from_us + number, &context, &entry)
        });
        write.await.unwrap();
    }
}

async fn sweep(db: &Db, before_us: i64) {
    while audit::sweep(db, before_us).await.unwrap() {}
}

fn entry(number: i64) -> AuditEntry {
    audit::entry("thing.change", "thing", number, json!({"number": number}))
}

async fn execute(db: &Db, sql: &'static str) -> u64 {
    let write = db.write(move |tx| tx.execute(Statement::new(sql)));
    let changed: Result<u64, DbError> = write.await;
    changed.unwrap()
}

async fn findings(db: &Db) -> Vec<Finding> {
    verify::run(db).await.unwrap().findings
}

fn is_refused<T>(result: Result<T, AuthError>) -> bool {
    matches!(result, Err(AuthError::Refused))
}

on_each_database! {
    async fn an_untouched_audit_log_verifies_also_after_retention(database: TestDatabase) {
        let db = &database.db;
        assert_eq!(findings(db).await, []);
        append(db, 5, START_US).await;
        assert_eq!(findings(db).await, []);
        sweep(db, i64::MAX).await;
        assert_eq!(verify::run(db).await.unwrap().rows_checked, 5, "nothing is cut where nothing is signed");
        heads::stamp(db, START_US).await.unwrap();
        append(db, 5, START_US + 5).await;
        heads::stamp(db, START_US).await.unwrap();
        append(db, 1, START_US + 10).await;
        sweep(db, START_US + 9).await;
        assert_eq!(findings(db).await, [], "deleting from the old end is no gap");
        let rows = audit_store::after(db, 0, 100).await.unwrap();
        assert_eq!(rows.first().map(|row| row.sequence), Some(6), "at the signed head before the first that is kept");
        sweep(db, i64::MAX).await;
        heads::stamp(db, START_US).await.unwrap();
        sweep(db, i64::MAX).await;
        let report = verify::run(db).await.unwrap();
        assert_eq!((report.findings, report.floor, report.rows_checked, report.last_sequence), (vec![], 10, 1, 11), "the newest row stays");
    }

    async fn an_audit_row_dated_by_a_clock_that_was_behind_takes_no_other_along(database: TestDatabase) {
        let db = &database.db;
        append(db, 1, START_US).await;
        heads::stamp(db, START_US).await.unwrap();
        append(db, 1, START_US + 1).await;
        append(db, 1, START_US - 100 * 86_400 * 1_000_000).await;
        heads::stamp(db, START_US).await.unwrap();
        append(db, 2, START_US + 2).await;
        sweep(db, START_US + 1).await;
        assert_eq!(findings(db).await, []);
        assert_eq!(verify::run(db).await.unwrap().rows_checked, 4, "the first is old, the second is not");
    }

    async fn an_altered_or_missing_audit_row_is_found(database: TestDatabase) {
        let db = &database.db;
        append(db, 5, START_US).await;
        execute(db, "UPDATE audit SET principal_name = 'nobody' WHERE sequence = 2").await;
        execute(db, "DELETE FROM audit WHERE sequence = 4").await;
        let expected = [Finding::Altered { sequence: 2 }, Finding::Missing { first: 4, last: 4 }];
        assert_eq!(findings(db).await, expected);
        execute(db, "DELETE FROM audit WHERE sequence > 4").await;
        let found = findings(db).await;
        assert_eq!(found.last(), Some(&Finding::Missing { first: 4, last: 5 }), "a cut end shows");
    }

    async fn a_refused_mutation_leaves_no_audit_row(database: TestDatabase) {
        let db = &database.db;
        let entry = entry(1);
        let refused: Result<(), DbError> = db
            .write(move |tx| {
                audit::append(tx, START_US, &AuditContext::system("test"), &entry)?;
                Err(DbError::Constraint("no".to_owned()))
            })
            .await;
        assert!(refused.is_err());
        append(db, 1, START_US).await;
        let rows = audit_store::after(db, 0, 10).await.unwrap();
        let sequences: Vec<i64> = rows.iter().map(|row| row.sequence).collect();
        assert_eq!(sequences, [1]);
        assert_eq!(findings(db).await, []);
    }

    async fn the_audit_log_is_filtered_and_paged_newest_first(database: TestDatabase) {
        let db = &database.db;
        append(db, 6, START_US).await;
        let filter = audit_store::AuditFilter {
            principal: Some("system:test".to_owned()),
            since_us: Some(START_US + 1),
            until_us: Some(START_US + 5),
            ..audit_store::AuditFilter::default()
        };
        let page = |before| audit_store::page(db, &filter, before, 3);
        let numbers = |rows: Vec<audit_store::AuditRow>| -> Vec<i64> {
            rows.iter().map(|row| row.sequence).collect()
        };
        assert_eq!(numbers(page(i64::MAX).await.unwrap()), [5, 4, 3]);
        assert_eq!(numbers(page(3).await.unwrap()), [2]);
    }

    async fn a_session_lives_until_it_is_logged_out(database: TestDatabase) {
        let desk = Desk::open(&database.db).await;
        let session = desk.log_in("admin", PASSWORD).await.unwrap();
        assert!(is_refused(desk.log_in("admin", "another long password").await));
        assert!(is_refused(desk.log_in("nobody", PASSWORD).await));
        assert!(desk.knows(&session.access_token).await);
        let found = desk.auth.identities.find(&session.access_token, desk.clock.now());
        let identity = found.await.unwrap().unwrap();
        assert_eq!(identity.principal.role, Role::Admin);
        let fleetwright_server::auth::identities::IdentityKind::Session { session_id, .. } =
            identity.kind
        else {
            panic!("a session was expected");
        };
        sessions::log_out(&desk.auth, AuditContext::system("test"), session_id).await.unwrap();
        assert!(!desk.knows(&session.access_token).await);
        assert!(is_refused(desk.refresh(&session.refresh_token).await));
        assert_eq!(findings(&database.db).await, []);
    }

    async fn a_refresh_token_used_twice_ends_its_session(database: TestDatabase) {
        let desk = Desk::open(&database.db).await;
        let first = desk.log_in("admin", PASSWORD).await.unwrap();
        let bystander = desk.log_in("admin", PASSWORD).await.unwrap();
        let second = desk.refresh(&first.refresh_token).await.unwrap();
        assert_ne!(first.refresh_token, second.refresh_token);
        assert!(desk.knows(&second.access_token).await);
        assert!(is_refused(desk.refresh(&first.refresh_token).await), "the thief or the victim");
        assert!(!desk.knows(&second.access_token).await, "both are out");
        assert!(is_refused(desk.refresh(&second.refresh_token).await));
        assert!(desk.knows(&bystander.access_token).await, "another session is not touched");
        assert!(is_refused(desk.refresh("fwr_unknown").await));
    }

    async fn an_expired_session_cannot_be_refreshed_and_is_swept(database: TestDatabase) {
        let desk = Desk::open(&database.db).await;
        let session = desk.log_in("admin", PASSWORD).await.unwrap();
        desk.clock.advance(16 * Duration::from_secs(60));
        assert!(!desk.knows(&session.access_token).await);
        let session = desk.refresh(&session.refresh_token).await.unwrap();
        assert!(desk.knows(&session.access_token).await);
        desk.clock.advance(31 * DAY);
        assert!(is_refused(desk.refresh(&session.refresh_token).await));
        fleetwright_server::auth::sweep(&database.db, desk.clock.now_us()).await.unwrap();
        assert_eq!(execute(&database.db, "DELETE FROM refresh_tokens").await, 0);
        assert_eq!(execute(&database.db, "DELETE FROM sessions").await, 0);
    }

    async fn changing_a_user_ends_their_sessions(database: TestDatabase) {
        let desk = Desk::open(&database.db).await;
        let context = || AuditContext::system("test");
        let new = |name: &str| NewUser {
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
            role: Role::Viewer,
        };
        let by = desk.admin().await;
        users::create(&desk.auth, by.clone(), context(), None, new("ada")).await.unwrap();
        let taken = users::create(&desk.auth, by.clone(), context(), None, new("ada")).await;
        assert!(matches!(taken, Err(AuthError::NameTaken(_))));
        let session = desk.log_in("ada", PASSWORD).await.unwrap();
        assert!(desk.knows(&session.access_token).await);
        let change = UserChange { role: Some(Role::Operator), ..UserChange::default() };
        let id = session.user.id;
        let changed = users::change(&desk.auth, by, context(), id, IfMatch::default(), change).await;
        assert_eq!(changed.unwrap().revision, 2);
        assert!(!desk.knows(&session.access_token).await);
        let session = desk.log_in("ada", PASSWORD).await.unwrap();
        assert_eq!(session.user.role, Role::Operator);
        users::delete(&desk.auth, context(), id).await.unwrap();
        assert!(!desk.knows(&session.access_token).await);
        assert!(is_refused(desk.log_in("ada", PASSWORD).await));
    }

    async fn the_last_administrator_stays(database: TestDatabase) {
        let desk = Desk::open(&database.db).await;
        let id = desk.log_in("admin", PASSWORD).await.unwrap().user.id;
        let context = || AuditContext::system("test");
        for change in [
            UserChange { disabled: Some(true), ..UserChange::default() },
            UserChange { role: Some(Role::Operator), ..UserChange::default() },
        ] {
            let by = desk.admin().await;
            let changed = users::change(&desk.auth, by, context(), id, IfMatch::default(), change).await;
            assert!(matches!(changed, Err(AuthError::LastAdmin)));
        }
        assert!(matches!(users::delete(&desk.auth, context(), id).await, Err(AuthError::LastAdmin)));
        let again = first_start::ensure_admin(&desk.auth, None).await.unwrap();
        assert!(again.is_none(), "the first start happens once");
    }

    async fn an_api_token_works_until_it_expires_or_is_revoked(database: TestDatabase) {
        let desk = Desk::open(&database.db).await;
        let (id, secret) = desk.new_token(None).await;
        let (_, short) = desk.new_token(Some(60)).await;
        assert!(desk.knows(&secret).await);
        assert!(desk.knows(&short).await);
        desk.clock.advance(Duration::from_secs(60));
        assert!(!desk.knows(&short).await, "also when it is remembered");
        let found = desk.auth.identities.find(&secret, desk.clock.now()).await.unwrap().unwrap();
        assert!(found.principal.scopes.allow("hosts", true));
        assert!(!found.principal.scopes.allow("hosts", false));
        desk.auth.store_last_used().await.unwrap();
        let listed = fleetwright_server::auth::store::tokens::page(&database.db, None, 10);
        let listed = listed.await.unwrap();
        assert_eq!(listed.len(), 2);
        let used = listed.iter().find(|token| token.id == id).unwrap();
        assert_eq!(used.last_used_at_us, Some(desk.clock.now_us()));
        tokens::revoke(&desk.auth, AuditContext::system("test"), id).await.unwrap();
        assert!(!desk.knows(&secret).await);
        let again = tokens::revoke(&desk.auth, AuditContext::system("test"), id).await;
        assert!(matches!(again, Err(AuthError::NotFound("token"))));
        fleetwright_server::auth::sweep(&database.db, desk.clock.now_us() + 31 * 86_400_000_000)
            .await
            .unwrap();
        assert_eq!(execute(&database.db, "DELETE FROM api_tokens").await, 0);
    }

    async fn an_idempotency_record_is_kept_with_its_work_for_a_day(database: TestDatabase) {
        let db = &database.db;
        let keys = Idempotency::new(b"secret");
        let value = http_value("k");
        let print = |body: &[u8]| keys.fingerprint("POST", "/x", body);
        let begin = |now_us, body: &'static [u8]| {
            keys.begin(db, now_us, "user:1", &value, print(body))
        };
        let Ok(Begin::Proceed(claim)) = begin(START_US, b"a").await else {
            panic!("the key is free");
        };
        let kept = claim.clone();
        let headers = [("location".to_owned(), "/x/1".to_owned())];
        let undone: Result<(), DbError> = db
            .write(move |tx| {
                kept.store(tx, START_US, 201, &headers, "{}")?;
                Err(DbError::Constraint("the work failed".to_owned()))
            })
            .await;
        assert!(undone.is_err());
        drop(claim);
        let Ok(Begin::Proceed(claim)) = begin(START_US, b"a").await else {
            panic!("work that failed leaves the key free");
        };
        let late = claim.clone();
        let headers = [("location".to_owned(), "/x/1".to_owned())];
        let store = db.write(move |tx| claim.store(tx, START_US, 201, &headers, "{\"id\":1}"));
        store.await.unwrap();
        let second = db.write(move |tx| late.store(tx, START_US, 201, &[], "{\"id\":2}")).await;
        assert!(matches!(second, Err(DbError::Unique(_))), "the first answer stands");
        assert!(matches!(begin(START_US + 1, b"a").await, Ok(Begin::Replay(_))));
        let other = begin(START_US + 1, b"b").await;
        assert_eq!(other.err().map(|problem| problem.status().as_u16()), Some(422));
        let tomorrow_us = START_US + 86_400_000_001;
        assert!(matches!(begin(tomorrow_us, b"b").await, Ok(Begin::Proceed(_))));
        idempotency::sweep(db, tomorrow_us).await.unwrap();
        assert_eq!(execute(db, "DELETE FROM idempotency_records").await, 0);
    }
}

fn http_value(text: &'static str) -> http::HeaderValue {
    http::HeaderValue::from_static(text)
}
