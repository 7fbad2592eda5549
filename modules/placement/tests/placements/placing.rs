//! Placing: bursts, restarts, time that is over, and VMs that are seen or missed.

use std::time::Duration;

use fleetwright_module_placement::placements::sweep;
use fleetwright_plugin_api::sdk::HostId;
use fleetwright_plugin_api::wire::VmReport;
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{Bench, code, id};

on_each_database! {
    async fn a_burst_on_two_servers_fills_the_nodes_and_oversubscribes_none(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        // Room for ten each, with the headroom.
        for number in 1..=3 {
            bench.node(number, 512 + 10 * 100).await;
        }
        let other = Bench::over(bench.server.clone());
        for number in 1..=3 {
            other.hear(number, 512 + 10 * 100, &[]).await;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let client = if number % 2 == 0 { &bench } else { &other }.client.clone();
            tasks.spawn(async move {
                let body = json!({"tenant_id": "a", "vm_id": format!("vm{number}"), "memory_mb": 100});
                let path = "/api/v1/fleet/placements";
                client.json("POST", path, &body).await.unwrap()
            });
        }
        let answers = tasks.join_all().await;
        let placed = answers.iter().filter(|answer| answer.status == 201).count();
        let full = answers.iter().filter(|answer| code(answer).1 == "no-capacity").count();
        assert_eq!((placed, full), (30, 70));
        for number in 1..=3 {
            let path = format!("/placements?node_id={}", id(number));
            let listed = bench.get(&path).await.json();
            assert_eq!(listed["items"].as_array().unwrap().len(), 10);
        }
        let tenant = bench.get("/tenants/a").await.json();
        assert_eq!(tenant["used"], json!({"vm_count": 30, "memory_mb": 3_000}));
    }

    async fn a_restart_keeps_every_lease_and_what_heartbeats_said(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 2_048).await;
        let placed = bench.placed("vm", 1_000).await;
        assert_eq!(bench.held().await, 1_000);
        bench.fleet.save().await.unwrap();
        let again = Bench::over(bench.server.clone());
        assert_eq!(again.state(&placed).await, "held");
        assert_eq!(again.held().await, 1_000);
        let node = again.get(&format!("/nodes/{}", id(1))).await.json();
        assert_eq!((&node["state"], &node["memory_available_mb"]), (&json!("stale"), &json!(2_048)));
        again.hear(1, 2_048, &[]).await;
        assert_eq!(code(&again.place("more", 537).await), (409, "no-capacity".to_owned()));
        assert_eq!(again.place("more", 536).await.status, 201);
    }

    async fn what_nobody_confirms_in_time_gives_its_capacity_back(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 2_048).await;
        let (kept, late) = (bench.placed("kept", 100).await, bench.placed("late", 200).await);
        let confirm = format!("/placements/{kept}/confirm");
        for _ in 0..2 {
            assert_eq!(bench.send("POST", &confirm, Value::Null).await.json()["state"], "confirmed");
        }
        bench.server.advance(Duration::from_micros(119_999_999));
        sweep::expire(&bench.fleet).await.unwrap();
        assert_eq!(bench.state(&late).await, "held");
        bench.server.advance(Duration::from_micros(1));
        let refused = bench.send("POST", &format!("/placements/{late}/confirm"), Value::Null).await;
        assert_eq!(code(&refused), (409, "invalid-transition".to_owned()));
        sweep::expire(&bench.fleet).await.unwrap();
        assert_eq!((bench.state(&late).await.as_str(), bench.state(&kept).await.as_str()), ("expired", "confirmed"));
        assert_eq!(bench.held().await, 100);
        for _ in 0..2 {
            assert_eq!(bench.send("DELETE", &format!("/placements/{kept}"), Value::Null).await.status, 204);
        }
        assert_eq!(bench.state(&kept).await, "released");
        let used = bench.get("/tenants/a").await.json()["used"].clone();
        assert_eq!(used, json!({"vm_count": 0, "memory_mb": 0}));
        assert_eq!(bench.held().await, 0);
    }

    async fn a_vm_is_lost_after_three_heartbeats_in_a_row_without_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 8_192).await;
        let placed = bench.placed("vm", 1_000).await;
        bench.hear(1, 7_900, &[("vm", 300)]).await;
        sweep::follow_heartbeats(&bench.fleet).await.unwrap();
        assert_eq!((bench.state(&placed).await.as_str(), bench.held().await), ("confirmed", 700));
        for missing in [true, true, false, true, true] {
            let vms: &[(&str, u64)] = if missing { &[] } else { &[("vm", 300)] };
            bench.hear(1, 7_900, vms).await;
            sweep::follow_heartbeats(&bench.fleet).await.unwrap();
            assert_eq!(bench.state(&placed).await, "confirmed");
        }
        bench.hear(1, 8_192, &[]).await;
        sweep::follow_heartbeats(&bench.fleet).await.unwrap();
        assert_eq!((bench.state(&placed).await.as_str(), bench.held().await), ("lost", 0));
        // A host that is gone takes its own with it.
        let other = bench.placed("other", 1_000).await;
        bench.server.delete_host(HostId(id(1)));
        sweep::follow_heartbeats(&bench.fleet).await.unwrap();
        assert_eq!(bench.state(&other).await, "lost");
    }

    async fn an_agent_that_cannot_tell_its_vms_makes_none_lost(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 8_192).await;
        let placed = bench.placed("vm", 1_000).await;
        bench.hear_vms(1, 8_192, None).await;
        sweep::follow_heartbeats(&bench.fleet).await.unwrap();
        assert_eq!((bench.state(&placed).await.as_str(), bench.held().await), ("held", 1_000));
        // It runs, and nobody knows what it uses: all of it stays set aside.
        let unknown = VmReport { id: "vm".to_owned(), memory_resident_mb: None };
        bench.hear_vms(1, 8_192, Some(vec![unknown])).await;
        sweep::follow_heartbeats(&bench.fleet).await.unwrap();
        assert_eq!((bench.state(&placed).await.as_str(), bench.held().await), ("confirmed", 1_000));
        let node = format!("/nodes/{}", id(1));
        assert_eq!(bench.get(&node).await.json()["vm_count"], 1);
        for _ in 0..5 {
            bench.hear_vms(1, 8_192, None).await;
            sweep::follow_heartbeats(&bench.fleet).await.unwrap();
            assert_eq!((bench.state(&placed).await.as_str(), bench.held().await), ("confirmed", 1_000));
        }
        assert_eq!(bench.get(&node).await.json()["vm_count"], Value::Null);
        // That none runs is another thing.
        for _ in 0..3 {
            bench.hear(1, 8_192, &[]).await;
        }
        sweep::follow_heartbeats(&bench.fleet).await.unwrap();
        assert_eq!((bench.state(&placed).await.as_str(), bench.held().await), ("lost", 0));
    }

    async fn what_cannot_be_placed_is_told_at_its_place(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 2_048).await;
        let cases = [
            (json!({"memory_mb": 0}), "placement-memory-invalid"),
            (json!({"memory_mb": -1}), "placement-memory-invalid"),
            (json!({"memory_mb": 9_223_372_036_854_775_808_u64}), "placement-memory-invalid"),
            (json!({"memory_mb": 1.5}), "placement-memory-invalid"),
            (json!({"memory_mb": null}), "missing-field"),
            (json!({"tenant_id": ""}), "placement-tenant-invalid"),
            (json!({"tenant_id": null}), "missing-field"),
            (json!({"vcpus": 0}), "placement-vcpus-invalid"),
            (json!({"vm_id": ""}), "placement-vm-invalid"),
            (json!({"preferred_node": id(9)}), "placement-node-unknown"),
            (json!({"preferred_only": true}), "placement-preferred-node-missing"),
            (json!({"labels": {"": "x"}}), "placement-labels-invalid"),
            (json!({"memory": 1}), "unknown-field"),
        ];
        for (fields, expected) in cases {
            let mut body = json!({"tenant_id": "a", "memory_mb": 1});
            for (name, value) in fields.as_object().unwrap() {
                body[name] = value.clone();
            }
            let answer = bench.send("POST", "/placements", body).await;
            let told = answer.json();
            assert_eq!((answer.status, &told["errors"][0]["code"]), (422, &json!(expected)), "{told}");
        }
        let placed = bench.send("POST", "/placements", json!({"tenant_id": "a", "memory_mb": 1})).await.json();
        assert_eq!(placed["vm_id"], placed["id"]);
        bench.placed("vm", 1).await;
        assert_eq!(code(&bench.place("vm", 1).await), (409, "vm-placed".to_owned()));
        let confirm = format!("/placements/{}/confirm", placed["id"].as_str().unwrap());
        let confirmed = bench.send("POST", &confirm, Value::Null).await;
        // For whoever asks again with the same Idempotency-Key: the answer as it was.
        let state = bench.server.state();
        assert_eq!((state.audits.len(), state.responses.len()), (3, 3));
        assert_eq!((state.responses[0].status, state.responses[2].status), (201, 200));
        let stored: Value = serde_json::from_str(&state.responses[2].body).unwrap();
        assert_eq!(stored, confirmed.json());
        let audited: Vec<&str> = state.audits.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(audited, ["placement.create", "placement.create", "placement.confirm"]);
    }
}
