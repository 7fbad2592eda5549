//! Which hosts are nodes, what an operator decides about them, and the totals.

use std::time::Duration;

use fleetwright_plugin_api::sdk::HostId;
use fleetwright_plugin_api::sdk::testing::host_record;
use fleetwright_tests::on_each_database;
use serde_json::json;

use crate::support::{Bench, code, id};

on_each_database! {
    async fn approved_hosts_of_no_pool_are_nodes_and_silence_makes_them_stale(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 4_096).await;
        let mut pooled = host_record(HostId(id(2)));
        pooled.tags = vec!["pool:ci".to_owned()];
        bench.server.put_host(pooled);
        let mut pending = host_record(HostId(id(3)));
        pending.approval_status = "pending".to_owned();
        bench.server.put_host(pending);
        let listed = bench.get("/nodes").await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
        assert_eq!(listed["items"][0]["state"], "ready");
        bench.server.advance(Duration::from_millis(34_999));
        assert_eq!(bench.get("/status").await.json()["nodes"]["ready"], 1);
        bench.server.advance(Duration::from_millis(1));
        let status = bench.get("/status").await.json();
        assert_eq!((&status["nodes"]["ready"], &status["nodes"]["stale"]), (&json!(0), &json!(1)));
        let refused = bench.place("vm", 1).await;
        assert_eq!(code(&refused), (409, "no-capacity".to_owned()));
        assert_eq!(refused.json()["nodes"], json!([{"node_id": id(1), "reason": "stale"}]));
        assert_eq!(bench.get(&format!("/nodes/{}", id(2))).await.status, 404);
    }

    async fn a_drained_node_takes_nothing_and_a_reserved_one_is_looked_at_last(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 4_096).await;
        bench.node(2, 2_048).await;
        let path = format!("/nodes/{}", id(1));
        let reserved = bench.send_if("PATCH", &path, "\"0\"", &json!({"reserved": true})).await;
        assert_eq!(reserved.status, 200, "{:?}", reserved.json());
        assert_eq!(reserved.headers["etag"], "\"1\"");
        let late = bench.send_if("PATCH", &path, "\"0\"", &json!({"reserved": false})).await;
        assert_eq!(late.status, 412);
        let first = bench.place("one", 1_000).await.json();
        assert_eq!((&first["node_id"], &first["pass"]), (&json!(id(2)), &json!(1)));
        let second = bench.place("two", 1_000).await.json();
        assert_eq!((&second["node_id"], &second["pass"]), (&json!(id(1)), &json!(2)));
        assert_eq!(bench.send("PATCH", &path, json!({"schedulable": false})).await.status, 200);
        // Also after a restart.
        for bench in [&bench, &Bench::over(bench.server.clone())] {
            bench.hear(1, 4_096, &[]).await;
            bench.hear(2, 2_048, &[]).await;
            let refused = bench.place("three", 1_000).await.json();
            assert_eq!(refused["nodes"][0]["reason"], "draining", "{refused}");
        }
        assert_eq!(bench.server.state().audits[0].action, "node.update");
    }
}
