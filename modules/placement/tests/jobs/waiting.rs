//! Jobs that wait for others: what frees them, what does not, and what operators can do about it.

use fleetwright_module_placement::jobs::actions::settle;
use fleetwright_plugin_api::sdk::{Batch, Statement};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kept;
use crate::support::{Bench, child, id};

on_each_database! {
    async fn what_ships_frees_those_that_wait_upward_through_composites(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let tree = bench.submit(json!({"idempotency_key": "top", "body_md": "last", "children": [
            {"idempotency_key": "middle", "kind": "composite", "children": [
                {"idempotency_key": "first", "body_md": "1"},
                {"idempotency_key": "second", "body_md": "2", "depends_on": ["first"]},
            ]},
        ]})).await;
        let dag = bench.get(&format!("/{}/dag", id(&tree))).await;
        let of = |key: &str| {
            let nodes = dag["nodes"].as_array().unwrap();
            id(nodes.iter().find(|node| node["idempotency_key"] == key).unwrap())
        };
        let stages = async || {
            let mut stages = Vec::new();
            for key in ["top", "middle", "first", "second"] {
                stages.push(bench.stage(of(key)).await);
            }
            stages.join(" ")
        };
        assert_eq!(stages().await, "blocked blocked queued blocked");
        bench.ship(of("first")).await;
        assert_eq!(stages().await, "blocked blocked shipped queued");
        bench.ship(of("second")).await;
        assert_eq!(stages().await, "queued shipped shipped shipped");
        kept::check(&bench.handle).await;
        let late = bench.submit(json!({"idempotency_key": "late", "body_md": "x", "depends_on": [of("first")]})).await;
        assert_eq!(late["stage"], "queued", "what has shipped is not waited for");
    }

    async fn a_child_that_fails_is_shown_until_it_is_requeued_or_waived(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let parent = bench.submit(json!({"idempotency_key": "p", "body_md": "last", "children": [
            {"idempotency_key": "a", "body_md": "1"}, {"idempotency_key": "b", "body_md": "2"},
        ]})).await;
        let (a, b) = (child(&parent, "a"), child(&parent, "b"));
        let epoch = bench.claim(a).await;
        bench.patch(a, json!({"stage": "failed", "lease_epoch": epoch})).await;
        assert_eq!(bench.told("POST", &format!("/{b}/cancel"), Value::Null).await.0, 200);
        let path = format!("/{}", id(&parent));
        let shown = bench.get(&path).await;
        assert_eq!((&shown["stage"], shown["blocked_by"].as_array().unwrap().len()), (&json!("blocked"), 2));
        assert!(shown["reason"].as_str().unwrap().contains("requeue that one, or waive it"), "{}", shown["reason"]);
        assert_eq!(bench.told("POST", &format!("/{a}/requeue"), Value::Null).await.0, 200);
        bench.ship(a).await;
        let unknown = json!({"dependency": Uuid::from_u128(5)});
        assert_eq!(bench.told("POST", &format!("{path}/waive"), unknown).await.0, 422);
        let waiver = json!({"dependency": b, "reason": "not needed"});
        let waived = bench.send("POST", &format!("{path}/waive"), waiver.clone()).await;
        assert_eq!((waived.status, &waived.json()["stage"]), (200, &json!("queued")), "{:?}", waived.json());
        assert_eq!(bench.send("POST", &format!("{path}/waive"), waiver).await.status, 200);
        let shown = bench.get(&path).await;
        assert_eq!((&shown["reason"], &shown["blocked_by"]), (&Value::Null, &json!([])));
        let dependencies = shown["dependencies"].as_array().unwrap();
        let of = |id: Uuid| dependencies.iter().find(|one| one["id"] == json!(id)).unwrap();
        assert_eq!((&of(a)["waived"], &of(b)["waived"]), (&json!(false), &json!(true)));
        kept::check(&bench.handle).await;
    }

    async fn a_holder_adds_children_with_a_checkpoint_and_the_job_comes_back(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let parent = bench.task("p").await;
        let epoch = bench.claim(parent).await;
        let path = format!("/{parent}/children");
        let children = json!([{"idempotency_key": "c", "body_md": "first"}]);
        let asked = |epoch: i64| json!({"children": children, "lease_epoch": epoch, "checkpoint": {"step": 2}});
        assert_eq!(bench.told("POST", &path, json!({"children": children})).await, (409, "invalid-transition".to_owned()));
        assert_eq!(bench.told("POST", &path, json!({"children": children, "lease_epoch": epoch})).await.0, 422);
        assert_eq!(bench.told("POST", &path, asked(epoch - 1)).await, (409, "stale-lease".to_owned()));
        let added = bench.send("POST", &path, asked(epoch)).await;
        assert_eq!(added.status, 201, "{:?}", added.json());
        let job = bench.job(parent).await;
        assert_eq!((job.stage.as_str(), job.lease.is_none(), job.checkpoint.as_deref()), ("blocked", true, Some("{\"step\":2}")));
        kept::check(&bench.handle).await;
        bench.ship(child(&added.json(), "c")).await;
        let job = bench.job(parent).await;
        assert_eq!((job.stage.as_str(), job.attempts, job.waits_for), ("queued", 0, 0));
    }

    async fn more_than_one_batch_can_free_are_freed_all_the_same(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let first = bench.task("first").await;
        let children: Vec<Value> = (0..200)
            .map(|number| json!({"idempotency_key": format!("w{number}"), "depends_on": [first]}))
            .collect();
        bench.submit(json!({"idempotency_key": "p", "children": children})).await;
        bench.ship(first).await;
        while settle::pass(&bench.handle).await.unwrap() {}
        assert_eq!(bench.get("/counts").await["totals"], json!({"blocked": 1, "queued": 200, "shipped": 1}));
        kept::check(&bench.handle).await;
    }

    async fn two_that_would_close_a_circle_together_cannot_both(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for round in 0..8 {
            let (one, two) = (bench.task(&format!("one{round}")).await, bench.task(&format!("two{round}")).await);
            // Neither call writes a row that the other reads: each names what waits for the other's parent.
            let after = async |key: String, of: Uuid| {
                id(&bench.submit(json!({"idempotency_key": key, "body_md": "x", "depends_on": [of]})).await)
            };
            let (after_one, after_two) = (after(format!("a{round}"), one).await, after(format!("b{round}"), two).await);
            let add = async |to: Uuid, key: String, dependency: Uuid| {
                let child = json!({"idempotency_key": key, "depends_on": [dependency]});
                bench.told("POST", &format!("/{to}/children"), json!({"children": [child]})).await.0
            };
            let (first, second) = tokio::join!(
                add(one, format!("c{round}"), after_two),
                add(two, format!("d{round}"), after_one),
            );
            assert_eq!(first.min(second), 201);
            assert_eq!(first.max(second), 422, "round {round}");
        }
        kept::check(&bench.handle).await;
    }

    async fn a_tree_has_its_limit_however_it_grows(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let root = bench.submit(json!({"idempotency_key": "p", "children": [{"idempotency_key": "c"}]})).await;
        let sql = "UPDATE placement_tree SET jobs = 9999";
        let batch = Batch::new().sql_expecting(Statement::new(sql), 1);
        bench.handle.db().commit(&bench.handle.own_context(), batch).await.unwrap();
        // Below a child: the whole tree counts.
        let path = format!("/{}/children", child(&root, "c"));
        let two = json!([{"idempotency_key": "x"}, {"idempotency_key": "y"}]);
        assert_eq!(bench.told("POST", &path, two).await.0, 422);
        assert_eq!(bench.told("POST", &path, json!({"idempotency_key": "x"})).await.0, 201);
        assert_eq!(bench.told("POST", &path, json!({"idempotency_key": "y"})).await.0, 422);
    }
}
