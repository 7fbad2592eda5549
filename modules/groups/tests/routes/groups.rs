//! Creating, reading, replacing and deleting groups.

use fleetwright_plugin_api::sdk::Payload;
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};

use crate::support::meeting::Meeting;
use crate::support::{Bench, GROUPS, problem, tables, text};

fn at(id: &str) -> String {
    format!("{GROUPS}/{id}")
}

on_each_database! {
    async fn a_group_is_created_and_read_back(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let web = bench.named("web").await;
        let body = json!({
            "name": "eu web", "description": "in\nEurope", "parent_id": web,
            "explicit_host_ids": [text(2), text(1), text(2)],
            "selector": {"groups": ["web"], "explicit_host_ids": [text(9)], "tags": ["eu"]},
        });
        // Its own parent must not be named: another group is.
        let refused = bench.send("POST", GROUPS, body.clone()).await;
        assert_eq!(problem(&refused).1, "group-cycle");
        let mut body = body;
        body["parent_id"] = Value::Null;
        let made = bench.send("POST", GROUPS, body).await;
        assert_eq!(made.status, 201, "{:?}", made.json());
        let view = made.json();
        let id = view["id"].as_str().unwrap();
        assert_eq!(made.headers["location"], at(id).as_str());
        assert_eq!(made.headers["etag"], "\"1\"");
        assert_eq!(view["explicit_host_ids"], json!([text(1), text(2)]));
        assert_eq!(view["revision"], 1);
        assert_eq!(view["created_at"], "2026-01-01T00:00:00.000Z");
        assert!(view["selector"].to_string().contains(&web), "{}", view["selector"]);
        let read = bench.get(&at(id)).await;
        assert_eq!(read.json(), view);
        let again = Bench::start(&database).await;
        assert_eq!(again.get(&at(id)).await.json(), view);
        let state = bench.server.state();
        assert_eq!(state.audits.len(), 2);
        assert_eq!((state.audits[1].action.as_str(), state.audits[1].target_id.as_str()), ("group.create", id));
        assert_eq!((state.responses[1].status, state.responses[1].body.contains(id)), (201, true));
        assert!(state.signals.contains(&"groups:groups".to_owned()));
    }

    async fn a_name_belongs_to_one_group_in_any_case(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let web = bench.named("web").await;
        let db = bench.named("db").await;
        for name in ["web", "WEB"] {
            assert_eq!(problem(&bench.send("POST", GROUPS, json!({"name": name})).await).1, "name-taken");
            let taken = bench.send("PUT", &at(&db), json!({"name": name})).await;
            assert_eq!((taken.status, taken.json()["group_id"].as_str()), (409, Some(web.as_str())));
        }
        assert_eq!(bench.send("PUT", &at(&web), json!({"name": "Web"})).await.status, 200);
        assert_eq!(bench.send("PUT", &at(&db), json!({"name": "data"})).await.status, 200);
        bench.named("db").await;
    }

    async fn a_post_with_an_id_replaces_that_group(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(json!({"name": "web", "selector": {"tags": ["web"]}})).await;
        let changed = bench.send("POST", GROUPS, json!({"id": id, "name": "www"})).await;
        assert_eq!((changed.status, changed.headers["etag"].to_str().unwrap()), (200, "\"2\""));
        assert_eq!(changed.json()["selector"], Value::Null);
        let unknown = bench.send("POST", GROUPS, json!({"id": text(5), "name": "x"})).await;
        assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("not-found")));
        let other = bench.send("PUT", &at(&id), json!({"id": text(5), "name": "x"})).await;
        assert_eq!(problem(&other), (422, "group-id-invalid".to_owned(), vec!["/id".to_owned()]));
    }

    async fn a_lost_race_is_412(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.named("web").await;
        let put = |tag: &'static str, name: &'static str| {
            let (bench, path) = (&bench, at(&id));
            async move { bench.send_with("PUT", &path, ("if-match", tag), json!({"name": name})).await.status }
        };
        assert_eq!(put("\"1\"", "a").await, 200);
        assert_eq!(put("\"1\"", "b").await, 412);
        assert_eq!(put("\"2\"", "b").await, 200);
        assert_eq!(bench.send_with("DELETE", &at(&id), ("if-match", "\"2\""), Value::Null).await.status, 412);
        assert_eq!(bench.get(&at(&id)).await.json()["name"], "b");
        let read = bench.send_with("GET", &at(&id), ("if-none-match", "\"3\""), Value::Null).await;
        assert_eq!(read.status, 304);
        assert_eq!(bench.send_with("DELETE", &at(&id), ("if-match", "\"3\""), Value::Null).await.status, 204);
        assert_eq!(bench.get(&at(&id)).await.status, 404);
        assert_eq!(bench.send("DELETE", &at(&id), Value::Null).await.status, 404);
    }

    async fn circles_are_refused_through_parents_and_selectors(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut ids = vec![bench.named("g0").await];
        for number in 1..50 {
            // Every other edge is a parent, the rest are selectors that name the group before.
            let before = &ids[number - 1];
            let body = if number % 2 == 0 {
                json!({"name": format!("g{number}"), "explicit_host_ids": []})
            } else {
                json!({"name": format!("g{number}"), "selector": {"groups": [before]}})
            };
            let id = bench.create(body).await;
            if number % 2 == 0 {
                let child = json!({"name": format!("g{}", number - 1), "parent_id": id, "selector": {"groups": [ids[number - 2]]}});
                assert_eq!(bench.send("PUT", &at(before), child).await.status, 200);
            }
            ids.push(id);
        }
        let last = ids.last().unwrap();
        let closed = bench.send("PUT", &at(&ids[0]), json!({"name": "g0", "selector": {"groups": [last]}})).await;
        assert_eq!(problem(&closed), (422, "group-cycle".to_owned(), vec!["/selector".to_owned()]));
        let path = closed.json()["path"].as_array().unwrap().clone();
        assert_eq!((path.len(), &path[0], path[1]["name"].as_str()), (51, &path[50], Some("g49")));
        let closed = bench.send("PUT", &at(last), json!({"name": "g49", "parent_id": ids[0], "selector": {"groups": [ids[48]]}})).await;
        assert_eq!(problem(&closed), (422, "group-cycle".to_owned(), vec!["/parent_id".to_owned()]));
        for itself in [json!({"name": "g0", "parent_id": ids[0]}), json!({"name": "g0", "selector": {"groups": ["g0"]}})] {
            let refused = bench.send("PUT", &at(&ids[0]), itself).await;
            assert_eq!(problem(&refused).1, "group-cycle");
        }
        assert_eq!(bench.get(&at(&ids[0])).await.json()["revision"], 1);
    }

    async fn two_edits_at_once_cannot_close_a_circle_together(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (a, b) = (bench.named("a").await, bench.named("b").await);
        // Both have decided before either has written.
        let racing = Bench::on(Meeting::of_two(tables(&database).await)).await;
        let (a_path, b_path) = (at(&a), at(&b));
        let under = racing.send("PUT", &a_path, json!({"name": "a", "parent_id": b}));
        let names = racing.send("PUT", &b_path, json!({"name": "b", "parent_id": a}));
        let (under, names) = tokio::join!(under, names);
        let mut answers = [under.status, names.status];
        answers.sort_unstable();
        assert_eq!(answers, [200, 422]);
    }

    async fn many_writers_at_once_all_get_through(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let creations = (0..24).map(|number| bench.create(json!({"name": format!("g{number}")})));
        let ids = futures_util::future::join_all(creations).await;
        assert_eq!(ids.len(), 24);
        let listed = bench.get(&format!("{GROUPS}?limit=100")).await.json();
        assert_eq!(listed["items"].as_array().unwrap().len(), 24);
        let same = (0..8).map(|_| bench.send("POST", GROUPS, json!({"name": "same"})));
        let answers = futures_util::future::join_all(same).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 409)));
    }

    async fn children_of_a_deleted_group_move_up(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let top = bench.named("top").await;
        let middle = bench.create(json!({"name": "middle", "parent_id": top})).await;
        let leaf = bench.create(json!({"name": "leaf", "parent_id": middle})).await;
        assert_eq!(bench.send("DELETE", &at(&middle), Value::Null).await.status, 204);
        let moved = bench.get(&at(&leaf)).await.json();
        assert_eq!((moved["parent_id"].as_str(), &moved["revision"]), (Some(top.as_str()), &json!(2)));
        assert_eq!(bench.send("DELETE", &at(&top), Value::Null).await.status, 204);
        assert_eq!(bench.get(&at(&leaf)).await.json()["parent_id"], Value::Null);
        assert_eq!(Bench::start(&database).await.get(&at(&leaf)).await.json()["revision"], 3);
        bench.named("middle").await;
    }

    async fn a_group_that_is_named_elsewhere_stays(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let web = bench.named("web").await;
        let user = bench.create(json!({"name": "user", "selector": {"groups": ["web"]}})).await;
        let refused = bench.send("DELETE", &at(&web), Value::Null).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("group-in-use")));
        assert_eq!(refused.json()["groups"], json!([{"id": user, "name": "user"}]));
        bench.send("PUT", &at(&user), json!({"name": "user"})).await;
        let schedule = json!({"id": text(1), "name": "nightly"});
        let told = schedule.clone();
        bench.server.on_invoke("schedules", "naming_group", move |_, _| {
            Ok(Payload::json(json!({"schedules": [told]})))
        });
        let refused = bench.send("DELETE", &at(&web), Value::Null).await;
        assert_eq!((refused.status, &refused.json()["schedules"]), (409, &json!([schedule])));
        bench.server.on_invoke("schedules", "naming_group", |_, _| Ok(Payload::json(json!({"schedules": []}))));
        assert_eq!(bench.send("DELETE", &at(&web), Value::Null).await.status, 204);
    }

    async fn groups_are_listed_in_pages_and_by_parent(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let top = bench.named("top").await;
        for number in 0..5 {
            bench.create(json!({"name": format!("c{number}"), "parent_id": top})).await;
        }
        let mut names = Vec::new();
        let mut path = format!("{GROUPS}?parent_id={top}&limit=2");
        loop {
            let page = bench.get(&path).await.json();
            names.extend(page["items"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap().to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{GROUPS}?parent_id={top}&limit=2&cursor={cursor}");
        }
        names.sort_unstable();
        assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
        let roots = bench.get(&format!("{GROUPS}?parent_id=root")).await.json();
        assert_eq!((roots["items"].as_array().unwrap().len(), &roots["items"][0]["id"]), (1, &json!(top)));
        let named = bench.get(&format!("{GROUPS}?name=C3")).await.json();
        assert_eq!(named["items"][0]["name"], "c3");
        assert_eq!(bench.get(&format!("{GROUPS}?parent_id=up")).await.status, 422);
        assert_eq!(bench.get(&format!("{GROUPS}/up")).await.status, 400);
    }

    async fn wrong_groups_are_refused_with_everything_that_is_wrong(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let long = "x".repeat(10_000);
        let cases = [
            (json!({}), "missing-field", vec!["/name"]),
            (json!({"name": ""}), "group-name-invalid", vec!["/name"]),
            (json!({"name": long}), "group-name-invalid", vec!["/name"]),
            (json!({"name": "a\u{7}"}), "group-name-invalid", vec!["/name"]),
            (json!({"name": 5, "tenant_id": "x"}), "unknown-field", vec!["/tenant_id", "/name"]),
            (json!({"name": "a", "parent_id": text(4)}), "group-parent-unknown", vec!["/parent_id"]),
            (json!({"name": "a", "parent_id": "x"}), "group-id-invalid", vec!["/parent_id"]),
            (json!({"name": "a", "explicit_host_ids": ["x", text(1), 5]}), "group-hosts-invalid", vec!["/explicit_host_ids/0", "/explicit_host_ids/2"]),
            (json!({"name": "a", "selector": {}}), "selector-empty", vec!["/selector"]),
            (json!({"name": "a", "parent_id": text(4), "selector": {"groups": ["nowhere"]}}), "group-parent-unknown", vec!["/parent_id", "/selector/groups/0"]),
            (json!({"name": "", "selector": {"tags": [], "colour": 1}}), "group-name-invalid", vec!["/name", "/selector/colour", "/selector/tags"]),
        ];
        for (body, code, pointers) in cases {
            let answer = bench.send("POST", GROUPS, body.clone()).await;
            let told = (422, code.to_owned(), pointers.into_iter().map(str::to_owned).collect());
            assert_eq!(problem(&answer), told, "{}", body.to_string().chars().take(99).collect::<String>());
        }
        assert_eq!(bench.get(GROUPS).await.json()["items"], json!([]));
        let fits = "ö".repeat(120);
        bench.named(&fits).await;
    }
}

on_each_database! {
    async fn groups_of_the_largest_size_are_read_again_after_a_restart(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let ids: Vec<String> = (1..=100_000).map(text).collect();
        let mut made = Vec::new();
        for name in ["a", "b"] {
            let body = json!({"name": name, "explicit_host_ids": ids, "selector": {"explicit_host_ids": ids}});
            made.push(bench.create(body).await);
        }
        let again = Bench::start(&database).await;
        // Two of them are more than one read, and more than one page.
        let first = again.get(GROUPS).await.json();
        assert_eq!(first["items"].as_array().unwrap().len(), 1);
        assert!(first["next_cursor"].is_string());
        let last = again.get(&at(&made[1])).await.json();
        assert_eq!(last["explicit_host_ids"].as_array().unwrap().len(), 100_000);
        assert_eq!(last["selector"]["explicit_host_ids"], json!(ids));
    }

    async fn a_group_no_read_could_carry_is_refused_and_one_that_repeats_itself_is_not(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let names: Vec<String> = ('a'..='z').chain('0'..='9').map(String::from).collect();
        for name in &names {
            bench.named(name).await;
        }
        let hosts: Vec<String> = (1..=100_000).map(text).collect();
        let group = |name: &str, expression: String| json!({
            "name": name, "explicit_host_ids": hosts,
            "selector": {"explicit_host_ids": hosts, "expression": expression},
        });
        // Some 60 KiB as written; every name of one letter becomes an id of 36.
        let every = format!("group in ({})", names.join(","));
        let many = vec![every; 700].join(" or ");
        let refused = bench.send("POST", GROUPS, group("many", many)).await;
        assert_eq!(problem(&refused), (422, "group-too-large".to_owned(), vec!["/selector".to_owned()]));
        let repeated = format!("group in ({})", vec!["a"; 32_000].join(","));
        bench.create(group("repeated", repeated)).await;
        // Whoever reads all groups anew still can.
        let again = Bench::start(&database).await;
        assert_eq!(again.get(&format!("{GROUPS}?name=repeated")).await.status, 200);
    }

    async fn a_replica_sees_what_another_has_changed(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let replica = Bench::start(&database).await;
        let web = bench.named("web").await;
        assert_eq!(replica.get(&at(&web)).await.status, 200);
        bench.send("PUT", &at(&web), json!({"name": "www"})).await;
        assert_eq!(replica.get(&at(&web)).await.json()["name"], "www");
        bench.send("DELETE", &at(&web), Value::Null).await;
        assert_eq!(replica.get(&at(&web)).await.status, 404);
        assert_eq!(replica.get(GROUPS).await.json()["items"], json!([]));
    }
}
