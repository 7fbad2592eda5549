//! Two servers over one database, neither of which is told by the other: what is stored decides.

use fleetwright_module_placement::placements::sweep;
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{Bench, code, id};

on_each_database! {
    async fn a_decision_on_what_another_server_has_changed_is_made_again(database: TestDatabase) {
        let one = Bench::start(&database).await;
        one.node(1, 2_048).await;
        one.node(2, 1_536).await;
        let two = Bench::over(one.server.clone());
        two.follow().await;
        // Both know both nodes as empty. The first takes the larger one whole.
        let whole = one.placed("whole", 1_536).await;
        let placed = two.place("second", 1_024).await.json();
        assert_eq!(placed["node_id"], json!(id(2)), "{placed}");
        assert_eq!(code(&one.place("third", 1).await).1, "no-capacity");
        // What one server gives back, the other finds before it refuses anybody.
        assert_eq!(one.send("DELETE", &format!("/placements/{whole}"), Value::Null).await.status, 204);
        let placed = two.place("fourth", 1_536).await.json();
        assert_eq!(placed["node_id"], json!(id(1)), "{placed}");
        // So too what an operator decided there.
        let second = format!("/placements/{}", two.placed_id("second").await);
        assert_eq!(one.send("DELETE", &second, Value::Null).await.status, 204);
        let drained = one.send("PATCH", &format!("/nodes/{}", id(2)), json!({"schedulable": false})).await;
        assert_eq!(drained.status, 200);
        let refused = two.place("fifth", 1).await.json();
        let reasons: Vec<&Value> = refused["nodes"].as_array().unwrap().iter().map(|node| &node["reason"]).collect();
        assert_eq!(reasons, ["insufficient-memory", "draining"]);
    }

    async fn what_one_server_confirms_the_other_knows(database: TestDatabase) {
        let one = Bench::start(&database).await;
        one.node(1, 4_096).await;
        let two = Bench::over(one.server.clone());
        two.follow().await;
        let placed = one.placed("vm", 1_000).await;
        two.fleet.refresh().await.unwrap();
        let confirm = format!("/placements/{placed}/confirm");
        assert_eq!(one.send("POST", &confirm, Value::Null).await.status, 200);
        two.fleet.refresh().await.unwrap();
        let seen = two.get(&format!("/nodes/{}", id(1))).await.json();
        assert_eq!(seen["vms"][0]["state"], "confirmed", "{seen}");
        // So it may count what heartbeats miss.
        for _ in 0..3 {
            two.hear(1, 4_096, &[]).await;
        }
        sweep::follow_heartbeats(&two.fleet).await.unwrap();
        assert_eq!(one.state(&placed).await, "lost");
        one.fleet.refresh().await.unwrap();
        assert_eq!((one.held().await, two.held().await), (0, 0));
    }

    async fn a_server_that_begins_in_the_middle_of_a_burst_keeps_every_lease(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        // Room for ten each.
        for number in 1..=4 {
            bench.node(number, 512 + 10 * 100).await;
        }
        let burst = |client: &Bench, from: u32| {
            let client = client.client.clone();
            let mut tasks = tokio::task::JoinSet::new();
            for number in from..from + 30 {
                let client = client.clone();
                tasks.spawn(async move {
                    let body = json!({"tenant_id": "a", "vm_id": format!("vm{number}"), "memory_mb": 100});
                    client.json("POST", "/api/v1/fleet/placements", &body).await.unwrap()
                });
            }
            tasks
        };
        let mut running = burst(&bench, 0);
        let mut answers = vec![running.join_next().await.unwrap().unwrap()];
        // The rest is under way: another server begins with what is stored by now, and is asked at once.
        let again = Bench::over(bench.server.clone());
        again.follow().await;
        let more = burst(&again, 30);
        answers.extend(running.join_all().await);
        answers.extend(more.join_all().await);
        let placed: Vec<String> = answers.iter().filter(|answer| answer.status == 201)
            .map(|answer| answer.json()["id"].as_str().unwrap().to_owned()).collect();
        let full = answers.iter().filter(|answer| code(answer).1 == "no-capacity").count();
        assert_eq!((placed.len(), full), (40, 20));
        let third = Bench::over(bench.server.clone());
        assert_eq!(third.held().await, 4_000);
        for placement in &placed {
            assert_eq!(third.state(placement).await, "held");
        }
        for number in 1..=4 {
            let node = third.get(&format!("/nodes/{}", id(number))).await.json();
            assert_eq!(node["held_mb"], 1_000, "{node}");
        }
    }
}
