//! What goes on beside requests: event streams, followed statuses, pruning, and calls of other modules.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use fleetwright_module_bulk::controller::{PAGE, follow_once};
use fleetwright_module_bulk::decide::Status;
use fleetwright_module_bulk::row::{BulkHeader, BulkKind};
use fleetwright_module_bulk::store::follow;
use fleetwright_operations::{prune, store};
use fleetwright_plugin_api::sdk::{Batch, CallError, Module as _, Payload, ServerError, SetId};
use fleetwright_tests::on_each_database;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::support::{BULK, Bench, body, id_of};

/// Longer than any of these takes; a stream that hangs fails instead of blocking.
const PATIENCE: Duration = Duration::from_secs(20);

async fn stream(bench: &Bench, id: Uuid) -> BodyDataStream {
    let mut request = http::Request::builder()
        .uri(format!("{BULK}/{id}/events"))
        .header("last-event-id", "1")
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(bench.context());
    let response = bench.client.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// The next event's id and data; `None` at the end.
async fn next(stream: &mut BodyDataStream) -> Option<(String, Value)> {
    let chunk = tokio::time::timeout(PATIENCE, stream.next())
        .await
        .unwrap()?
        .unwrap();
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(field("event:"), "progress");
    Some((field("id:"), serde_json::from_str(&field("data:")).unwrap()))
}

async fn stored_status(bench: &Bench, id: Uuid) -> (Status, i64) {
    let header = store::header::<BulkKind>(bench.handle.db(), id, None)
        .await
        .unwrap()
        .unwrap();
    (header.own.status, header.own.status_revision)
}

async fn write(bench: &Bench, statement: fleetwright_plugin_api::sdk::Statement) {
    let batch = Batch::new().sql(statement);
    bench
        .handle
        .db()
        .commit(&bench.context(), batch)
        .await
        .unwrap();
}

on_each_database! {
    async fn a_stream_starts_with_a_snapshot_and_ends_with_the_operation(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(4).await;
        let mut events = stream(&bench, id).await;
        let (first_id, first) = next(&mut events).await.unwrap();
        assert_eq!((&first["status"], &first["queued"]), (&json!("queued"), &json!(4)));

        bench.change(id, |set| (set.queued, set.running, set.succeeded) = (2, 1, 1));
        let (second_id, second) = next(&mut events).await.unwrap();
        assert_eq!((&second["status"], &second["percent_complete"]), (&json!("running"), &json!(25.0)));
        assert_ne!(first_id, second_id);

        bench.finish(id, 4, 0, 0);
        let (_, last) = next(&mut events).await.unwrap();
        assert_eq!(last["status"], "succeeded");
        assert_eq!(next(&mut events).await, None);

        // Whoever comes back later gets the snapshot and the end.
        let mut events = stream(&bench, id).await;
        assert_eq!(next(&mut events).await.unwrap().1["status"], "succeeded");
        assert_eq!(next(&mut events).await, None);
    }

    async fn what_happened_between_two_looks_is_one_event(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(4).await;
        let mut events = stream(&bench, id).await;
        next(&mut events).await.unwrap();
        for started in 1..=3 {
            bench.change(id, |set| (set.queued, set.running) = (4 - started, started));
        }
        assert_eq!(next(&mut events).await.unwrap().1["running"], 3);
        bench.finish(id, 0, 4, 0);
        assert_eq!(next(&mut events).await.unwrap().1["status"], "failed");
    }

    async fn statuses_are_followed_and_terminal_ones_never_change(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.handle.stop_loops();
        let id = bench.create(2).await;
        let watched = follow_once(&bench.handle).await.unwrap().watched;
        assert!(watched.contains(&format!("set:{id}")));
        bench.change(id, |set| (set.queued, set.running) = (1, 1));
        follow_once(&bench.handle).await.unwrap();
        assert_eq!(stored_status(&bench, id).await.0, Status::Running);
        bench.finish(id, 1, 1, 0);
        follow_once(&bench.handle).await.unwrap();
        let (status, revision) = stored_status(&bench, id).await;
        assert_eq!(status, Status::Partial);
        // Again, by a replica that is late, or that is wrong: nothing changes.
        follow_once(&bench.handle).await.unwrap();
        write(&bench, follow(id, Status::Running, revision - 1)).await;
        write(&bench, follow(id, Status::Failed, revision + 1)).await;
        assert_eq!(stored_status(&bench, id).await, (Status::Partial, revision));
        assert_eq!(follow_once(&bench.handle).await.unwrap().watched.len(), 1);
    }

    async fn the_largest_rows_fit_one_read_of_a_page(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.handle.stop_loops();
        let mut asked_for = body(1);
        asked_for["reason"] = json!("🦀".repeat(500));
        asked_for["environment"] = json!({"LARGE": "x".repeat(8 * 1024)});
        asked_for["working_directory"] = json!(format!("/{}", "d".repeat(4_000)));
        let made = bench.post("", asked_for.clone()).await;
        assert_eq!(made.status, 202, "{:?}", made.json());
        let id = id_of(&made.json());
        let shown = bench.get(&format!("/{id}")).await.json();
        assert_eq!(shown["environment"], asked_for["environment"]);
        assert_eq!(shown["working_directory"], asked_for["working_directory"]);

        let (header, asked) = store::with_asked::<BulkKind>(bench.handle.db(), id, None).await.unwrap().unwrap();
        let others = (1..PAGE).map(|number| BulkHeader {
            id: Uuid::from_u128(number.into()),
            created_by_name: "🦀".repeat(120),
            ..header.clone()
        });
        for chunk in others.collect::<Vec<_>>().chunks(100) {
            let batch = chunk.iter().fold(Batch::new(), |batch, header| batch.sql(store::insert(header, &asked)));
            bench.handle.db().commit(&bench.context(), batch).await.unwrap();
        }
        let page = store::open_after::<BulkKind>(bench.handle.db(), Uuid::nil(), PAGE).await.unwrap();
        assert_eq!(page.len(), PAGE as usize);
        assert_eq!(follow_once(&bench.handle).await.unwrap().pages, 1);
        assert_eq!(bench.get("?limit=500").await.status, 200);
    }

    async fn a_late_follower_does_not_turn_a_status_back(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(2).await;
        write(&bench, follow(id, Status::Running, 50)).await;
        write(&bench, follow(id, Status::Queued, 49)).await;
        assert_eq!(stored_status(&bench, id).await, (Status::Running, 50));
    }

    async fn an_operation_goes_with_its_set(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (kept, swept) = (bench.create(1).await, bench.create(1).await);
        bench.server.state().sets.remove(&SetId(swept));
        prune::once::<BulkKind>(&bench.handle).await.unwrap();
        assert!(store::header::<BulkKind>(bench.handle.db(), swept, None).await.unwrap().is_some(), "too young to be sure");
        assert_eq!(bench.get(&format!("/{swept}")).await.status, 404);
        assert_eq!(bench.get("").await.json()["items"].as_array().unwrap().len(), 1);

        bench.server.advance(Duration::from_secs(2 * 3600));
        prune::once::<BulkKind>(&bench.handle).await.unwrap();
        assert!(store::header::<BulkKind>(bench.handle.db(), swept, None).await.unwrap().is_none());
        assert!(store::header::<BulkKind>(bench.handle.db(), kept, None).await.unwrap().is_some());
    }

    async fn a_caller_with_its_own_id_creates_once(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = Uuid::from_u128(0xfeed);
        let invoke = async |method: &str, json: Value| {
            bench.module.invoke(bench.context(), method.to_owned(), Payload::json(json)).await
        };
        for _again in 0..2 {
            let made = invoke("create", json!({"id": id, "request": body(2)})).await.unwrap();
            assert_eq!((&made.json["id"], &made.json["total"]), (&json!(id), &json!(2)));
        }
        assert_eq!(bench.server.state().created_sets.len(), 1);
        // Even if both looked before either wrote: the second write is refused whole.
        let header = store::header::<BulkKind>(bench.handle.db(), id, None).await.unwrap().unwrap();
        let (_, asked) = store::with_asked::<BulkKind>(bench.handle.db(), id, None).await.unwrap().unwrap();
        let batch = Batch::new().sql(store::insert(&header, &asked));
        let refused = bench.handle.db().commit(&bench.context(), batch).await;
        assert!(matches!(refused, Err(ServerError::Constraint { .. })), "{refused:?}");

        let status = invoke("status", json!({"ids": [id, Uuid::from_u128(1)]})).await.unwrap();
        assert_eq!(status.json["operations"].as_array().unwrap().len(), 1);
        assert_eq!(status.json["operations"][0]["status"], "queued");
        let cancelled = invoke("cancel", json!({"id": id})).await.unwrap();
        assert_eq!(cancelled.json["status"], "cancelled");

        let refused = invoke("create", json!({"id": Uuid::from_u128(2), "request": body(0)})).await;
        assert!(matches!(refused, Err(CallError::Problem(problem)) if problem.code() == "selection-empty"));
        assert!(invoke("cancel", json!({"id": id})).await.is_err());
        assert!(invoke("destroy", Value::Null).await.is_err());
    }
}
