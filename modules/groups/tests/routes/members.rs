//! Who is in a group.

use fleetwright_tests::on_each_database;
use serde_json::json;

use crate::support::{Bench, GROUPS, host_id, text};

on_each_database! {
    async fn members_are_own_and_those_of_descendants(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..3, "web");
        bench.put_tagged(3..5, "db");
        bench.put(5, |_| {});
        let top = bench.create(json!({"name": "all", "explicit_host_ids": [text(5), text(99)]})).await;
        let middle = bench.create(json!({"name": "web", "parent_id": top, "selector": {"tags": ["web"]}})).await;
        let leaf = bench.create(json!({"name": "db", "parent_id": middle, "selector": {"tags": ["db"]}})).await;
        assert_eq!(bench.members(&top, "").await, [1, 2, 3, 4, 5]);
        assert_eq!(bench.members(&top, "?direct=true").await, [5]);
        assert_eq!(bench.members(&middle, "").await, [1, 2, 3, 4]);
        assert_eq!(bench.members(&middle, "?direct=true").await, [1, 2]);
        assert_eq!(bench.members(&leaf, "").await, [3, 4]);
    }

    async fn membership_follows_the_live_inventory_and_the_groups(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let group = bench.create(json!({"name": "web", "explicit_host_ids": [text(7)], "selector": {"tags": ["web"]}})).await;
        assert_eq!(bench.members(&group, "").await, Vec::<u128>::new());
        bench.put_tagged(1..3, "web");
        assert_eq!(bench.members(&group, "").await, [1, 2]);
        bench.put(7, |_| {});
        assert_eq!(bench.members(&group, "").await, [1, 2, 7]);
        // Its slot is taken by another host.
        bench.server.delete_host(host_id(7));
        bench.put(8, |_| {});
        assert_eq!(bench.members(&group, "").await, [1, 2]);
        let body = json!({"name": "web", "explicit_host_ids": [text(8)]});
        bench.send("PUT", &format!("{GROUPS}/{group}"), body).await;
        assert_eq!(bench.members(&group, "").await, [8]);
    }

    async fn a_selector_may_build_on_other_groups(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..4, "web");
        bench.put_tagged(4..6, "db");
        bench.create(json!({"name": "web", "selector": {"tags": ["web"]}})).await;
        let rest = json!({"expression": "not group = WEB"});
        let rest = bench.create(json!({"name": "rest", "selector": rest})).await;
        assert_eq!(bench.members(&rest, "").await, [4, 5]);
        assert_eq!(bench.selected(json!({"expression": "group in (web, rest) and tags = db"})).await, [4, 5]);
    }

    async fn pages_of_members_hold_each_once(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        bench.put_tagged(1..8, "web");
        let group = bench.create(json!({"name": "web", "selector": {"tags": ["web"]}})).await;
        let mut seen = Vec::new();
        let mut path = format!("{GROUPS}/{group}/hosts?limit=3");
        loop {
            let page = bench.get(&path).await.json();
            assert_eq!(page["count"], 7);
            let items = page["items"].as_array().unwrap().clone();
            assert_eq!(items[0]["status"], "online");
            seen.extend(items.iter().map(|item| item["fqdn"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{GROUPS}/{group}/hosts?limit=3&cursor={cursor}");
        }
        let expected: Vec<String> = (1..8).map(|number| format!("h{number}.example.com")).collect();
        assert_eq!(seen, expected);
        for (query, status) in [("?limit=0", 422), ("?limit=501", 422), ("?cursor=abc", 400), ("?direct=maybe", 422), ("?drect=true", 422)] {
            assert_eq!(bench.get(&format!("{GROUPS}/{group}/hosts{query}")).await.status, status, "{query}");
        }
        assert_eq!(bench.get(&format!("{GROUPS}/{}/hosts", text(1))).await.status, 404);
    }
}
