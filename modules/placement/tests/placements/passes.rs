//! The two passes, case by case, over the same four nodes.

use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::{Bench, code, id};

/// The node and pass, or the reasons against nodes 1 to 4.
type Expected = Result<(u128, i64), [&'static str; 4]>;

/// Nodes 1 and 2 are for all, 3 and 4 reserved; each says what it has available. Node 2 is the one without much.
async fn four_nodes(bench: &Bench) {
    for (number, available_mb) in [(1, 4_096), (2, 1_024), (3, 8_192), (4, 2_048)] {
        bench.node(number, available_mb).await;
    }
    for number in [3, 4] {
        let path = format!("/nodes/{}", id(number));
        let reserved = bench.send("PATCH", &path, json!({"reserved": true})).await;
        assert_eq!(reserved.status, 200);
    }
}

on_each_database! {
    async fn a_table_of_two_passes(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        four_nodes(&bench).await;
        let cases: &[(Value, Expected)] = &[
            // The one with the most free memory that is not reserved, though a reserved one has more.
            (json!({"memory_mb": 512}), Ok((1, 1))),
            (json!({"memory_mb": 3_584}), Ok((1, 1))),
            // One more MiB does not leave 512 there: reserved ones are looked at too.
            (json!({"memory_mb": 3_585}), Ok((3, 2))),
            (json!({"memory_mb": 7_680}), Ok((3, 2))),
            (json!({"memory_mb": 7_681}), Err(["insufficient-memory"; 4])),
            // With 1,024 available and nothing held, 512 fits and 513 does not.
            (json!({"memory_mb": 512, "preferred_node": id(2)}), Ok((2, 1))),
            (json!({"memory_mb": 513, "preferred_node": id(2)}), Ok((1, 1))),
            (json!({"memory_mb": 512, "preferred_node": id(2), "preferred_only": true}), Ok((2, 1))),
            (
                json!({"memory_mb": 513, "preferred_node": id(2), "preferred_only": true}),
                Err(["not-preferred", "insufficient-memory", "not-preferred", "not-preferred"]),
            ),
            // A preferred node that is reserved waits for the second pass as the others do.
            (json!({"memory_mb": 512, "preferred_node": id(4)}), Ok((1, 1))),
            (json!({"memory_mb": 1_500, "preferred_node": id(4), "preferred_only": true}), Ok((4, 2))),
            (json!({"memory_mb": 3_600, "preferred_node": id(4)}), Ok((3, 2))),
            // 64 CPUs are 256 vCPUs.
            (json!({"memory_mb": 1, "vcpus": 256}), Ok((1, 1))),
            (json!({"memory_mb": 1, "vcpus": 257}), Err(["insufficient-vcpus"; 4])),
            (json!({"memory_mb": 1, "require_kvm": true}), Ok((1, 1))),
        ];
        for (fields, expected) in cases {
            let mut body = fields.clone();
            body["tenant_id"] = "a".into();
            let answer = bench.send("POST", "/placements", body).await;
            let told = answer.json();
            match expected {
                Ok((node, pass)) => {
                    assert_eq!((&told["node_id"], &told["pass"]), (&json!(id(*node)), &json!(pass)), "{fields} {told}");
                    // Each case begins with nothing held.
                    let path = format!("/placements/{}", told["id"].as_str().unwrap());
                    assert_eq!(bench.send("DELETE", &path, Value::Null).await.status, 204);
                }
                Err(reasons) => {
                    assert_eq!(code(&answer), (409, "no-capacity".to_owned()), "{fields}");
                    let nodes = told["nodes"].as_array().unwrap();
                    let told: Vec<&str> = nodes.iter().map(|node| node["reason"].as_str().unwrap()).collect();
                    assert_eq!(told, reasons, "{fields}");
                }
            }
        }
        assert_eq!(bench.held().await, 0);
    }

    async fn what_is_held_counts_until_the_vm_uses_it(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.node(1, 2_048).await;
        bench.placed("vm", 1_024).await;
        // 2,048 available, 1,024 held, 512 kept free.
        assert_eq!(code(&bench.place("more", 513).await).1, "no-capacity");
        // Half of it is used now: it is no more available and no more held.
        bench.hear(1, 1_536, &[("vm", 512)]).await;
        assert_eq!(bench.held().await, 512);
        assert_eq!(code(&bench.place("more", 513).await).1, "no-capacity");
        assert_eq!(bench.place("more", 512).await.status, 201);
        // A VM that uses more than it was placed with holds nothing, not less than nothing.
        bench.hear(1, 4_096, &[("vm", 9_000)]).await;
        assert_eq!(bench.held().await, 512);
    }

    async fn binpack_fills_the_fullest_that_fits(database: TestDatabase) {
        let bench = Bench::with_settings(&database, json!({"strategy": "binpack", "headroom_mb": 100})).await;
        for (number, available_mb) in [(1, 4_096), (2, 1_024), (3, 2_048)] {
            bench.node(number, available_mb).await;
        }
        for (memory_mb, expected) in [(924, 2), (924, 3), (924, 3), (924, 1)] {
            let placed = bench.place(&format!("{memory_mb}-{expected}-{}", bench.held().await), memory_mb).await;
            assert_eq!(placed.json()["node_id"], json!(id(expected)), "{:?}", placed.json());
        }
        // Headroom of more than a u32 is a setting like any other.
        let server = bench.server.clone();
        server.set_setting("placement", json!({"headroom_mb": 1_u64 << 40, "lease_seconds": 7}));
        let huge = Bench::over(server);
        huge.follow().await;
        assert_eq!(huge.fleet.limits().lease_seconds, 7);
        assert_eq!(code(&huge.place("none", 1).await).1, "no-capacity");
    }
}
