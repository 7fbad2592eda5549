//! With the switches off, and on where nothing asks for them, the same comes out.

use fleetwright_plugin_api::sdk::testing::TestServer;
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::kept;
use crate::support::{Bench, text};

/// What was answered to everything, without ids and times.
async fn transcript(bench: &Bench, product: &str) -> Vec<String> {
    let mut told = Vec::new();
    let factory = bench.factory(product, 2, &["gpu"]).await;
    for (number, priority, needs) in [
        (1, "low", &[][..]),
        (2, "high", &["gpu"]),
        (3, "normal", &[]),
        (4, "normal", &["fpga"]),
        (5, "high", &[]),
    ] {
        let body = json!({"idempotency_key": format!("{product}-{number}"), "product_id": product, "priority": priority,
                          "required_capabilities": needs, "estimate_usd": "3", "max_attempts": 1});
        bench.job(body).await;
    }
    let claim = json!({"factory_id": factory, "product_id": product});
    let mut held: Vec<Value> = Vec::new();
    for end in [
        "", "", "full", "shipped", "", "failed", "", "queued", "", "",
    ] {
        match end {
            "" | "full" => {
                let answer = bench.send("POST", "/jobs/claim", &claim).await;
                let job = answer.json();
                told.push(
                    format!("claim {} {}", answer.status, job["idempotency_key"])
                        .replace(product, ""),
                );
                held.extend(Some(job).filter(|job| !job.is_null()));
            }
            stage => {
                let job = held.remove(0);
                bench.patch(&job, "building").await;
                let (status, code) = bench.patch(&job, stage).await;
                let seen = bench.see(&text(&job, "id")).await;
                told.push(format!(
                    "{stage} {status} {code} {} {} {}",
                    seen["stage"], seen["attempts"], seen["lease_epoch"]
                ));
            }
        }
        let shown = bench
            .done("GET", &format!("/factories/{factory}"), Value::Null)
            .await;
        told.push(format!("seats {}", shown["seats_used"]));
        let counts = bench
            .done(
                "GET",
                &format!("/jobs/counts?product_id={product}"),
                Value::Null,
            )
            .await;
        told.push(counts["totals"].to_string());
    }
    told
}

on_each_database! {
    async fn a_switch_that_nothing_asks_for_changes_nothing(database: TestDatabase) {
        let off = Bench::start(&database, &[]).await;
        let expected = transcript(&off, "off").await;
        assert!(expected.contains(&"claim 204 null".to_owned()), "{expected:?}");
        for (product, switches) in [("one", &["preemption"][..]), ("two", &["budgets"]), ("both", &["preemption", "budgets"])] {
            let server: TestServer = off.server.clone();
            for switch in switches {
                server.set_setting(switch, true.into());
            }
            let on = Bench::beside(&server);
            assert_eq!(transcript(&on, product).await, expected, "{product}");
            for switch in switches {
                server.set_setting(switch, false.into());
            }
        }
        kept::check(&off.handle).await;
    }
}
