//! What goes on beside plain requests: event streams, calls of other modules, pruning.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use fleetwright_operations::calls::{Call, Create, Known};
use fleetwright_operations::status::OperationStatus;
use fleetwright_operations::{prune, store};
use fleetwright_plugin_api::sdk::{
    Batch, CallError, Module as _, Payload, ServerError, SetId, Statement,
};
use fleetwright_tests::on_each_database;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::sample::{Errand, renamed};
use crate::support::{Bench, ERRANDS, body};

/// Longer than any of these takes, and less than the silence after which a stream looks without a signal.
const PATIENCE: Duration = Duration::from_secs(12);
/// Long enough for a stream to have looked.
const QUIET: Duration = Duration::from_millis(500);

async fn stream(bench: &Bench, id: Uuid) -> BodyDataStream {
    let mut request = http::Request::builder()
        .uri(format!("{ERRANDS}/{id}/events"))
        .header("last-event-id", "1")
        .body(Body::empty())
        .unwrap();
    request
        .extensions_mut()
        .insert(bench.client.context.clone());
    let response = bench.client.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// The next event's data; `None` at the end.
async fn next(stream: &mut BodyDataStream) -> Option<Value> {
    let chunk = tokio::time::timeout(PATIENCE, stream.next())
        .await
        .unwrap()?;
    let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data:"));
    Some(serde_json::from_str(data.unwrap_or_default()).unwrap())
}

#[test]
fn calls_are_read_as_they_are_written() {
    let asked = Create {
        id: Uuid::from_u128(7),
        request: json!({"a": 1}),
    };
    let read = Call::read("create", Payload::json(json!(asked))).unwrap();
    assert!(
        matches!(read, Call::Create(call) if call.id == asked.id && call.request == asked.request)
    );
    for (method, payload) in [
        ("create", json!({"request": {}})),
        ("check", json!({"request": {}, "more": 1})),
        ("cancel", json!({"id": "x"})),
        ("destroy", json!({})),
    ] {
        assert!(
            Call::read(method, Payload::json(payload)).is_err(),
            "{method}"
        );
    }
    let many = json!({"ids": vec![Uuid::nil(); 501]});
    let read = Call::read("status", Payload::json(many)).unwrap();
    assert!(matches!(read, Call::Status(call) if call.ids.len() == 500));
}

on_each_database! {
    async fn a_stream_follows_the_counters_and_the_row_to_the_end(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(4).await;
        let mut events = stream(&bench, id).await;
        let first = next(&mut events).await.unwrap();
        assert_eq!((&first["status"], &first["generation"]), (&json!("queued"), &json!(1)));
        // What happened between two looks is one event.
        for running in 1..=3 {
            bench.change(id, |set| (set.queued, set.running) = (4 - running, running));
        }
        assert_eq!(next(&mut events).await.unwrap()["running"], 3);
        // It waits now, until it is woken.
        let waiting = tokio::time::timeout(QUIET, next(&mut events)).await;
        assert!(waiting.is_err(), "nothing has changed, and {waiting:?} was told");
        bench.write(renamed(id, 1)).await;
        bench.fake.publish("errands:all");
        assert_eq!(next(&mut events).await.unwrap()["generation"], 2);
        bench.finish(id);
        assert_eq!(next(&mut events).await.unwrap()["status"], "succeeded");
        assert_eq!(next(&mut events).await, None);
    }

    async fn a_stream_ends_with_an_operation_that_was_swept_away(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(1).await;
        let mut events = stream(&bench, id).await;
        next(&mut events).await.unwrap();
        bench.fake.state().sets.remove(&SetId(id));
        bench.fake.publish(&format!("set:{id}"));
        assert_eq!(next(&mut events).await, None);
    }

    async fn a_caller_with_its_own_id_creates_once(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = Uuid::from_u128(0xfeed);
        let invoke = async |method: &str, json: Value| {
            let context = bench.client.context.clone();
            bench.module.invoke(context, method.to_owned(), Payload::json(json)).await
        };
        for _again in 0..2 {
            let made = invoke("create", json!({"id": id, "request": body(2)})).await.unwrap();
            assert_eq!((&made.json["id"], &made.json["total"]), (&json!(id), &json!(2)));
        }
        assert_eq!(bench.fake.state().created_sets.len(), 1);
        // Even if both looked before either wrote: the second write is refused whole.
        let (header, asked) = store::with_asked::<Errand>(bench.server.db(), id, None).await.unwrap().unwrap();
        let batch = Batch::new().sql(store::insert(&header, &asked));
        let refused = bench.server.db().commit(&bench.client.context, batch).await;
        assert!(matches!(refused, Err(ServerError::Constraint { .. })), "{refused:?}");

        let status = invoke("status", json!({"ids": [id, Uuid::from_u128(1)]})).await.unwrap();
        let known: Vec<Known> = serde_json::from_value(status.json["operations"].clone()).unwrap();
        assert_eq!(known, [Known { id, status: OperationStatus::Queued }]);
        assert_eq!(invoke("check", json!({"request": body(0)})).await.unwrap().json, json!({}));
        let refused = invoke("create", json!({"id": Uuid::from_u128(2), "request": body(0)})).await;
        assert!(matches!(refused, Err(CallError::Problem(problem)) if problem.code() == "selection-empty"));
        assert_eq!(invoke("cancel", json!({"id": id})).await.unwrap().json["id"], json!(id));
    }

    async fn an_operation_is_its_tenants_only(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(1).await;
        let (header, asked) = store::with_asked::<Errand>(bench.server.db(), id, None).await.unwrap().unwrap();
        let (mut of_other, other) = (header, Uuid::from_u128(5));
        (of_other.id, of_other.tenant) = (other, Some("b".to_owned()));
        bench.write(store::insert(&of_other, &asked)).await;
        let db = bench.server.db();
        let seen = async |tenant: Option<&str>| {
            let found = store::headers_of::<Errand>(db, &[id, other], tenant).await.unwrap();
            let one = store::header::<Errand>(db, other, tenant).await.unwrap();
            assert_eq!(one.is_some(), found.iter().any(|header| header.id == other));
            found.len()
        };
        assert_eq!((seen(None).await, seen(Some("b")).await, seen(Some("c")).await), (2, 1, 0));
    }

    async fn an_operation_goes_with_its_set_and_all_that_is_remembered_of_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (kept, swept) = (bench.create(1).await, bench.create(1).await);
        for id in [kept, swept] {
            bench.write(Statement::new("INSERT INTO errands_notes VALUES ($1, 'x')").bind(id)).await;
        }
        bench.fake.state().sets.remove(&SetId(swept));
        let left = async || {
            let ids = store::headers_of::<Errand>(bench.server.db(), &[kept, swept], None).await.unwrap();
            let notes = Statement::new("SELECT errand_id AS id FROM errands_notes");
            let notes = bench.server.db().read_one(notes).await.unwrap();
            (ids.len(), notes.len())
        };
        prune::once::<Errand>(&bench.server).await.unwrap();
        assert_eq!(left().await, (2, 2), "too young to be sure");
        bench.fake.advance(Duration::from_secs(2 * 3600));
        prune::once::<Errand>(&bench.server).await.unwrap();
        assert_eq!(left().await, (1, 1));
        assert!(store::header::<Errand>(bench.server.db(), kept, None).await.unwrap().is_some());
    }
}
