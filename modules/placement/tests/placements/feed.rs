//! The feed of heartbeats, as the started module follows it.

use std::time::Duration;

use fleetwright_module_placement::Placement;
use fleetwright_plugin_api::sdk::testing::{
    TestClient, TestServer, host_record, node_capacity, operator,
};
use fleetwright_plugin_api::sdk::{HostId, Module as _};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{Bench, FLEET, id, tables};

/// Asks until the answer is as it should be; fails after half a minute.
async fn until(client: &TestClient, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client
            .json("GET", &format!("{FLEET}{path}"), &Value::Null)
            .await
            .unwrap()
            .json();
        if is_so(&answer) {
            return answer;
        }
        assert!(std::time::Instant::now() < deadline, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

on_each_database! {
    async fn the_started_module_follows_heartbeats_and_moves_placements_on(database: TestDatabase) {
        let server = TestServer::new(Some(tables(&database).await));
        server.put_host(host_record(HostId(id(1))));
        // Said before the module began.
        server.put_capacity(HostId(id(1)), node_capacity(4_096, 4));
        let handle = server.server("placement");
        let (_module, router) = Placement::start(handle.clone()).await.unwrap();
        let client = TestClient { router, context: operator() };
        until(&client, "/status", |status| status["nodes"]["ready"] == 1).await;
        let body = json!({"tenant_id": "a", "vm_id": "vm", "memory_mb": 1_000});
        let placed = client.json("POST", &format!("{FLEET}/placements"), &body).await.unwrap().json();
        let path = format!("/placements/{}", placed["id"].as_str().unwrap());
        server.advance(Duration::from_secs(1));
        let mut capacity = node_capacity(4_096, 4);
        let vm = json!([{"id": "vm", "memory_resident_mb": 1_000}]);
        capacity.vms = Some(serde_json::from_value(vm).unwrap());
        server.put_capacity(HostId(id(1)), capacity);
        until(&client, &path, |placement| placement["state"] == "confirmed").await;
        let late = client.json("POST", &format!("{FLEET}/placements"), &json!({"tenant_id": "a", "memory_mb": 1})).await;
        let late = format!("/placements/{}", late.unwrap().json()["id"].as_str().unwrap());
        server.advance(Duration::from_secs(120));
        until(&client, &late, |placement| placement["state"] == "expired").await;
        until(&client, "/status", |status| status["nodes"]["stale"] == 1).await;
        handle.stop_loops();
    }

    async fn a_feed_that_begins_anew_is_read_from_its_beginning(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        for number in 1..=3 {
            bench.node(number, 1_024).await;
        }
        // Another life: its places have the same numbers, and other hosts at them.
        {
            let mut state = bench.server.state();
            state.capacity_epoch += 1;
            state.capacity_sequence = 0;
            state.capacity.clear();
        }
        bench.server.advance(Duration::from_secs(1));
        for number in [3, 2, 1] {
            bench.server.put_capacity(HostId(id(number)), node_capacity(9_000 + u64::try_from(number).unwrap(), 4));
        }
        bench.follow().await;
        for number in 1..=3 {
            let node = bench.get(&format!("/nodes/{}", id(number))).await.json();
            assert_eq!(node["memory_available_mb"], json!(9_000 + number), "{node}");
        }
    }
}
