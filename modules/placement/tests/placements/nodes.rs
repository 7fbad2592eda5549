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
        assert_eq!(bench.get("/nodes?state=stale").await.json()["items"].as_array().unwrap().len(), 1);
        // The next heartbeat brings it back.
        bench.hear(1, 4_096, &[]).await;
        assert_eq!(bench.place("vm", 1).await.status, 201);
        // A host that becomes a pool's takes nothing more, and keeps what it has.
        let mut pooled = host_record(HostId(id(1)));
        pooled.tags = vec!["web".to_owned(), "pool:ci".to_owned()];
        bench.server.put_host(pooled);
        let refused = bench.place("other", 1).await;
        assert_eq!((code(&refused).1.as_str(), &refused.json()["nodes"]), ("no-capacity", &json!([])));
        assert_eq!(bench.get("/tenants/a/vms").await.json()["items"].as_array().unwrap().len(), 1);
    }

    async fn a_refusal_by_ten_thousand_nodes_has_an_end(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for number in 1..=10_000 {
            bench.server.put_host(host_record(HostId(id(number))));
        }
        for number in 1..=10 {
            bench.hear(number, 1_024, &[]).await;
        }
        let refused = bench.place("vm", 513).await;
        assert_eq!(code(&refused), (409, "no-capacity".to_owned()));
        let told = refused.json();
        assert_eq!(told["reasons"], json!({"insufficient-memory": 10, "stale": 9_990}));
        let named = told["nodes"].as_array().unwrap();
        assert_eq!(named[0], json!({"node_id": id(1), "reason": "insufficient-memory"}));
        assert_eq!(named[10], json!({"node_id": id(11), "reason": "stale"}));
        assert_eq!(told["nodes_omitted"], 10_000 - named.len());
        assert!(refused.body.len() < 16 * 1_024, "{}", refused.body.len());
        assert_eq!(bench.place("vm", 512).await.status, 201);
        // All of them are listed, page by page, each once.
        let (mut seen, mut path) = (0, "/nodes?limit=500".to_owned());
        loop {
            let page = bench.get(&path).await.json();
            seen += page["items"].as_array().unwrap().len();
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/nodes?limit=500&cursor={cursor}");
        }
        assert_eq!(seen, 10_000);
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
