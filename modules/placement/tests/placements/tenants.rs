//! Quotas, and what the token of one tenant sees of another: nothing.

use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{Bench, code, id};

on_each_database! {
    async fn a_quota_holds_in_a_burst(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 32_768).await;
        let set = bench.send("PUT", "/tenants/a/quota", json!({"vm_count": 3, "memory_mb": 250})).await;
        assert_eq!((set.status, &set.json()["quota"]), (200, &json!({"vm_count": 3, "memory_mb": 250})));
        let other = Bench::over(bench.server.clone());
        other.follow().await;
        let asked = (0..8).map(|number| {
            let bench = if number % 2 == 0 { &bench } else { &other };
            async move { bench.place(&format!("vm{number}"), 100).await }
        });
        let mut codes: Vec<u16> = Vec::new();
        for answer in futures_util::future::join_all(asked).await {
            assert!(answer.status == 201 || code(&answer).1 == "quota-exceeded", "{:?}", answer.json());
            codes.push(answer.status);
        }
        assert_eq!(codes.iter().filter(|status| **status == 201).count(), 2);
        assert_eq!(bench.place("last", 50).await.status, 201);
        assert_eq!(code(&bench.place("one more", 1).await), (409, "quota-exceeded".to_owned()));
        let stale = bench.send_if("PUT", "/tenants/a/quota", "\"0\"", &json!({})).await;
        assert_eq!(stale.status, 412);
    }

    async fn a_token_sees_and_changes_its_own_only(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 8_192).await;
        bench.node(2, 1_024).await;
        let (a, b) = (bench.of_tenant("a"), bench.of_tenant("b"));
        let placed = a.send("POST", "/placements", json!({"vm_id": "vm", "memory_mb": 1_000})).await;
        assert_eq!((placed.status, &placed.json()["tenant_id"]), (201, &json!("a")));
        let other = b.send("POST", "/placements", json!({"tenant_id": "b", "memory_mb": 500})).await.json();
        let (own, path) = (placed.json(), format!("/placements/{}", placed.json()["id"].as_str().unwrap()));
        let strangers = [
            ("GET", path.clone()),
            ("DELETE", path.clone()),
            ("POST", format!("{path}/confirm")),
            ("GET", "/tenants/a".to_owned()),
            ("GET", "/tenants/a/vms".to_owned()),
            ("GET", "/placements?tenant_id=a".to_owned()),
            ("GET", format!("/nodes/{}", id(2))),
        ];
        for (method, path) in &strangers {
            assert_eq!(b.send(method, path, Value::Null).await.status, 404, "{method} {path}");
        }
        assert_eq!(a.state(own["id"].as_str().unwrap()).await, "held");
        let refused = b.send("POST", "/placements", json!({"tenant_id": "a", "memory_mb": 1})).await;
        assert_eq!(refused.status, 404);
        let unseen = b.send("POST", "/placements", json!({"memory_mb": 1, "preferred_node": id(2)})).await;
        assert_eq!(unseen.status, 422);
        let full = b.send("POST", "/placements", json!({"memory_mb": 90_000})).await.json();
        assert_eq!((&full["code"], &full["nodes"]), (&json!("no-capacity"), &Value::Null));
        // Both are on node 1: of it each sees its own.
        let node = b.get(&format!("/nodes/{}", id(1))).await.json();
        assert_eq!((&node["held_mb"], &node["memory_total_mb"]), (&json!(500), &Value::Null));
        assert_eq!(node["vms"].as_array().unwrap().len(), 1);
        assert_eq!(node["vms"][0]["placement_id"], other["id"]);
        assert_eq!(b.get("/nodes").await.json()["items"].as_array().unwrap().len(), 1);
        let status = b.get("/status").await.json();
        assert_eq!((&status["nodes"]["total"], &status["held"]), (&json!(1), &json!({"memory_mb": 500, "placements": 1})));
        assert_eq!(b.get("/placements").await.json()["items"].as_array().unwrap().len(), 1);
        assert_eq!(b.get("/tenants/b/vms").await.json()["items"][0]["id"], other["id"]);
        assert_eq!(bench.of_tenant("c").get("/tenants/c").await.status, 200);
        assert_eq!(bench.get("/tenants/c").await.status, 404);
    }
}
