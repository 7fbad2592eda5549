//! The routes every kind has, and the controls it declares.

use std::collections::BTreeSet;

use fleetwright_operations::http::document;
use fleetwright_plugin_api::sdk::{CommandId, CommandStatus, CommandView, SetId};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use utoipa::openapi::OpenApi;
use uuid::Uuid;

use crate::sample::Errand;
use crate::support::{Bench, ERRANDS, body, host_id};

fn row(id: Uuid, ordinal: u64) -> CommandView {
    CommandView {
        id: CommandId(Uuid::from_u128(0x77_0000 + u128::from(ordinal))),
        set_id: SetId(id),
        host_id: host_id(ordinal),
        ordinal,
        status: CommandStatus::Succeeded,
        reason: None,
        attempt: 1,
        cancel_requested: false,
        exit_code: Some(0),
        changed: None,
        message: String::new(),
        created_at_us: 0,
        started_at_us: None,
        finished_at_us: None,
        stdout_tail: String::new(),
        stderr_tail: String::new(),
        late_result: None,
        details: None,
    }
}

#[test]
fn the_document_of_a_kind_has_the_shared_routes_in_its_words() {
    let made = document::<Errand>(OpenApi::default());
    let made = serde_json::to_value(made).unwrap();
    let paths = made["paths"].as_object().unwrap();
    let expected = [
        "/fleet/errands",
        "/fleet/errands/{id}",
        "/fleet/errands/{id}/events",
        "/fleet/errands/{id}/hosts",
        "/fleet/errands/{id}/hosts/{host_id}/output",
        "/fleet/errands/{id}/progress",
    ];
    assert_eq!(paths.keys().collect::<Vec<_>>(), expected);
    let list = &paths["/fleet/errands"]["get"];
    assert_eq!(list["summary"], "Small errands, newest first.");
    assert_eq!(list["tags"], json!(["errands"]));
    let schemas = made["components"]["schemas"].as_object().unwrap();
    for name in [
        "ErrandPage",
        "ErrandHostPage",
        "ErrandView",
        "HostResult",
        "HostOutput",
        "Stream",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
    // Whatever is referred to is there.
    let text = made.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name: String = reference.chars().take_while(|c| *c != '"').collect();
        assert!(schemas.contains_key(&name), "{name}");
    }
}

on_each_database! {
    async fn the_smallest_kind_has_every_shared_route(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let made = bench.post("", body(2)).await;
        let id: Uuid = made.json()["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(made.headers["location"], format!("{ERRANDS}/{id}"));
        bench.fake.state().commands.insert(SetId(id), vec![row(id, 0), row(id, 1)]);

        for path in [format!("/{id}"), format!("/{id}/progress")] {
            let shown = bench.get(&path).await;
            assert_eq!((shown.status, &shown.json()["total"]), (200, &json!(2)), "{path}");
        }
        let tag = bench.get(&format!("/{id}")).await.headers["etag"].to_str().unwrap().to_owned();
        let same = bench.with_header("GET", &format!("/{id}"), ("if-none-match", &tag)).await;
        assert_eq!(same.status, 304);
        let hosts = bench.get(&format!("/{id}/hosts?limit=1")).await.json();
        assert_eq!(hosts["items"][0]["host_id"], json!(host_id(0)));
        let next = hosts["next_cursor"].as_str().unwrap();
        let rest = bench.get(&format!("/{id}/hosts?cursor={next}")).await.json();
        assert_eq!((&rest["items"][0]["host_id"], &rest["next_cursor"]), (&json!(host_id(1)), &Value::Null));
        let output = bench.get(&format!("/{id}/hosts/{}/output", host_id(1))).await;
        assert_eq!((output.status, &output.json()["stdout"]["total_bytes"]), (200, &json!(0)));
    }

    async fn what_is_not_there_is_told_in_the_words_of_the_kind(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (id, unknown) = (bench.create(1).await, Uuid::from_u128(7));
        for path in [
            format!("/{unknown}"),
            format!("/{unknown}/progress"),
            format!("/{unknown}/hosts"),
            format!("/{unknown}/events"),
            format!("/{id}/hosts/{}/output", host_id(9)),
        ] {
            let answer = bench.get(&path).await;
            let problem = answer.json();
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(problem["detail"], "There is no such small errand, or no such host in it.");
        }
    }

    async fn a_list_is_filtered_by_what_is_so_not_by_what_is_stored(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        // Every row says queued, for nobody follows them.
        let (first, second, third) = (bench.create(1).await, bench.create(1).await, bench.create(1).await);
        bench.change(second, |set| (set.queued, set.running) = (0, 1));
        bench.finish(third);
        for (status, expected) in [("queued", first), ("running", second), ("succeeded", third)] {
            let page = bench.get(&format!("?status={status}&limit=1")).await.json();
            assert_eq!(page["items"][0]["id"], json!(expected), "{status}");
        }
        assert_eq!(bench.get("").await.json()["items"].as_array().unwrap().len(), 3);
        for never in ["paused", "", "Queued"] {
            let refused = bench.get(&format!("?status={never}")).await;
            assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/status")));
        }
        // Those whose sets were swept away are left out, wherever the page ends.
        bench.fake.state().sets.remove(&SetId(second));
        let page = bench.get("?limit=2").await.json();
        let ids: BTreeSet<String> = page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()).collect();
        assert_eq!(ids, BTreeSet::from([first, third].map(|id| json!(id).to_string())));
    }

    async fn a_control_is_written_once_or_refused(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(2).await;
        let stale = bench.with_header("POST", &format!("/{id}/cancel"), ("if-match", "\"999\"")).await;
        assert_eq!(stale.status, 412);
        assert!(bench.fake.state().audits.iter().all(|entry| entry.action == "errands.create"));

        let renamed = bench.post(&format!("/{id}/rename"), json!({"slow": false})).await;
        assert_eq!((renamed.status, &renamed.json()["generation"]), (200, &json!(2)));
        // Whoever is always too late is told to come again, and nothing of it is written.
        let lost = bench.post(&format!("/{id}/rename"), json!({"slow": true})).await;
        assert_eq!((lost.status, &lost.json()["detail"]), (409, &json!("The errand is being changed by others.")));
        let actions: Vec<String> = bench.fake.state().audits.iter().map(|entry| entry.action.clone()).collect();
        assert_eq!(actions, ["errands.create", "errands.rename"]);

        bench.finish(id);
        let over = bench.post(&format!("/{id}/rename"), json!({"slow": false})).await;
        assert_eq!((over.status, &over.json()["detail"]), (409, &json!("Cannot rename an errand that is succeeded.")));
    }
}
