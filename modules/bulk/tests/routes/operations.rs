//! The routes of bulk operations, through the adapter of the SDK, on both databases.

use fleetwright_plugin_api::sdk::testing::TestResponse;
use fleetwright_plugin_api::sdk::{CommandStatus, OfflinePolicy, SetAction, SetId};
use fleetwright_tests::on_each_database;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{BULK, Bench, body, host_id, id_of, row};

fn code(answer: &TestResponse) -> (u16, String) {
    let code = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, code)
}

fn refused(status: u16, slug: &str) -> (u16, String) {
    (status, slug.to_owned())
}

fn pointers(answer: &TestResponse) -> Vec<String> {
    let errors = answer.json()["errors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let pointers = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned());
    pointers.collect()
}

on_each_database! {
    async fn a_new_operation_freezes_its_hosts_and_commits_everything_together(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut request = body(3);
        for (name, value) in [
            ("timeout_seconds", json!(60)), ("expires_in_seconds", json!(600)), ("max_concurrency", json!(2)),
            ("offline", json!("skip")), ("reason", json!("CVE-1")), ("dry_run", json!(true)), ("run_as", json!("www")),
        ] {
            request[name] = value;
        }
        let answer = bench.post("", request).await;
        assert_eq!(answer.status, 202);
        let accepted = answer.json();
        let id = id_of(&accepted);
        assert_eq!(accepted["status"], "queued");
        assert_eq!(accepted["total"], 3);
        assert_eq!(answer.headers["location"], format!("{BULK}/{id}"));

        {
            let state = bench.server.state();
            let (create, hosts) = &state.created_sets[0];
            assert_eq!(create.set_id, SetId(id));
            assert_eq!((create.timeout_seconds, create.expires_in_seconds, create.max_concurrency), (60, 600, 2));
            assert_eq!(create.offline, OfflinePolicy::Skip);
            assert!(create.options.dry_run && !create.held);
            assert_eq!(*hosts, [host_id(0), host_id(1), host_id(2)]);
            assert_eq!(state.audits.len(), 1);
            let audit = &state.audits[0];
            assert_eq!((audit.action.as_str(), audit.target_id.as_str()), ("bulk.create", id.to_string().as_str()));
            assert!(!audit.detail.to_string().contains("echo hi"), "scripts are not in the audit log");
            // The answer stored for a repeat is the one that was sent.
            let stored = &state.responses[0];
            assert_eq!((stored.status, stored.body.as_bytes()), (202, &answer.body[..]));
            assert!(stored.headers.contains(&("location".to_owned(), format!("{BULK}/{id}"))));
        }

        let shown = bench.get(&format!("/{id}")).await.json();
        assert_eq!(shown["selector"], json!({"hosts": 3}));
        assert_eq!(shown["parameters"], json!({"script": "echo hi"}));
        assert_eq!(shown["created_by"], json!({"id": "user:test", "name": "test"}));
        assert_eq!((&shown["reason"], &shown["run_as"]), (&json!("CVE-1"), &json!("www")));
        assert_eq!((&shown["queued"], &shown["percent_complete"]), (&json!(3), &json!(0.0)));
        assert_eq!(shown["created_at"], "2026-01-01T00:00:00.000Z");
        assert_eq!(shown["expires_at"], "2026-01-01T00:10:00.000Z");
    }

    async fn a_wrong_body_is_refused_with_everything_that_is_wrong_and_changes_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut request = body(3);
        request["timeout_seconds"] = json!(0);
        request["selector"] = json!({"tag": 1});
        request["batchsize"] = json!(1);
        let answer = bench.post("", request).await;
        assert_eq!(code(&answer), refused(422, "unknown-field"));
        assert_eq!(pointers(&answer), ["/batchsize", "/timeout_seconds", "/selector/hosts"]);

        // Only the selector is wrong: its code is the answer's.
        let mut request = body(3);
        request["selector"] = json!({"tag": 1});
        let answer = bench.post("", request).await;
        assert_eq!(code(&answer), refused(422, "selector-value-invalid"));
        assert_eq!(pointers(&answer), ["/selector/hosts"]);

        assert_eq!(code(&bench.post("", body(0)).await), refused(422, "selection-empty"));
        let state = bench.server.state();
        assert!(state.created_sets.is_empty() && state.audits.is_empty() && state.responses.is_empty());
    }

    async fn a_selection_that_is_not_the_expected_one_creates_nothing(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut request = body(3);
        request["expected_count"] = json!(4);
        assert_eq!(code(&bench.post("", request).await), refused(409, "selection-changed"));
        let mut request = body(3);
        request["expected_digest"] = json!(format!("sha256:{:064x}", 4));
        assert_eq!(code(&bench.post("", request).await), refused(409, "selection-changed"));
        assert!(bench.server.state().created_sets.is_empty());

        let mut request = body(3);
        request["expected_count"] = json!(3);
        request["expected_digest"] = json!(format!("sha256:{:064x}", 3));
        assert_eq!(bench.post("", request).await.status, 202);
    }

    async fn a_plan_is_answered_and_nothing_is_stored(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut pending = fleetwright_plugin_api::sdk::testing::host_record(host_id(1));
        pending.approval_status = "pending".to_owned();
        bench.server.put_host(pending);
        let mut request = body(3);
        request["plan_only"] = json!(true);
        let answer = bench.post("", request).await;
        assert_eq!(answer.status, 200);
        let plan = answer.json();
        assert_eq!(plan["total"], 3);
        assert_eq!(plan["hosts"], json!([host_id(0), host_id(2)]));
        assert_eq!(plan["skips"], json!([{"host_id": host_id(1), "reason": "not_approved"}]));
        assert_eq!(plan["plan"]["steps"][0]["operation_type"], "run_script");
        {
            let state = bench.server.state();
            assert!(state.created_sets.is_empty() && state.audits.is_empty() && state.responses.is_empty());
        }
        assert_eq!(bench.get("").await.json()["items"], json!([]));
    }

    async fn bodies_that_are_not_json_are_refused(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let send = async |text: &'static str, kind: &'static str| {
            let request = http::Request::builder().method("POST").uri(BULK).header("content-type", kind);
            let answer = bench.client.send(request.body(text.into()).unwrap()).await.unwrap();
            code(&answer)
        };
        assert_eq!(send("{\"a\":1,", "application/json").await, refused(400, "malformed"));
        assert_eq!(send("{\"a\":1,\"a\":2}", "application/json").await, refused(400, "malformed"));
        assert_eq!(send("{}", "text/plain").await, refused(415, "media-type"));
        assert_eq!(send("[]", "application/json").await.0, 422);
        assert_eq!(send("{}", "application/json").await.0, 422);
    }

    async fn a_selector_may_name_a_hundred_thousand_hosts(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let ids: Vec<_> = (0..100_000).map(host_id).collect();
        let mut request = body(0);
        request["selector"] = json!({ "explicit_host_ids": ids });
        let answer = bench.post("", request).await;
        assert_eq!(answer.status, 202);
        let id = id_of(&answer.json());
        assert_eq!(bench.server.state().created_sets[0].1.len(), 100_000);
        // The ids are the set's; the row does not keep them a second time.
        let shown = bench.get(&format!("/{id}")).await.json();
        assert_eq!((&shown["selector"], &shown["selector_ids_omitted"]), (&json!({}), &json!(100_000)));
    }

    async fn progress_counts_exactly_and_names_the_status(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(47).await;
        bench.change(id, |set| {
            (set.queued, set.running, set.succeeded, set.failed, set.skipped) = (10, 5, 30, 1, 1);
        });
        let expected = json!({
            "id": id, "status": "running", "paused": false, "cancelling": false, "total": 47, "succeeded": 30,
            "failed": 1, "running": 5, "queued": 10, "skipped": 1, "percent_complete": 68.1,
        });
        assert_eq!(bench.get(&format!("/{id}/progress")).await.json(), expected);
        bench.finish(id, 45, 1, 1);
        let progress = bench.get(&format!("/{id}/progress")).await.json();
        assert_eq!((&progress["status"], &progress["percent_complete"]), (&json!("partial"), &json!(100.0)));
    }

    async fn an_entity_tag_changes_with_every_counter(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(2).await;
        let first = bench.get(&format!("/{id}")).await;
        let tag = first.headers["etag"].to_str().unwrap().to_owned();
        let again = bench.get_with(&format!("/{id}"), "if-none-match", &tag).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        bench.change(id, |set| (set.queued, set.running) = (1, 1));
        let changed = bench.get_with(&format!("/{id}"), "if-none-match", &tag).await;
        assert_eq!(changed.status, 200);
        assert_ne!(changed.headers["etag"].to_str().unwrap(), tag);
    }

    async fn unknown_ids_are_404_and_malformed_ones_400(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(1).await;
        let unknown = Uuid::from_u128(7);
        for path in ["", "/progress", "/hosts", "/events"] {
            assert_eq!(code(&bench.get(&format!("/{unknown}{path}")).await), refused(404, "not-found"), "{path}");
            assert_eq!(code(&bench.get(&format!("/nonsense{path}")).await), refused(400, "malformed"), "{path}");
        }
        for path in ["/cancel", "/pause", "/resume", "/retry"] {
            let answer = bench.post(&format!("/{unknown}{path}"), Value::Null).await;
            assert_eq!(code(&answer), refused(404, "not-found"), "{path}");
            let answer = bench.post(&format!("/nonsense{path}"), Value::Null).await;
            assert_eq!(code(&answer), refused(400, "malformed"), "{path}");
        }
        let output = bench.get(&format!("/{id}/hosts/{unknown}/output")).await;
        assert_eq!(code(&output), refused(404, "not-found"));
        let output = bench.get(&format!("/{id}/hosts/x/output")).await;
        assert_eq!(code(&output), refused(400, "malformed"));
    }

    async fn another_tenants_operation_is_not_there(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let (mine, theirs) = (bench.as_tenant("a"), bench.as_tenant("b"));
        let id = mine.create(1).await;
        mine.rows(id, &[CommandStatus::Failed]);
        let host = host_id(0);
        for path in ["", "/progress", "/hosts", &format!("/hosts/{host}/output")] {
            assert_eq!(mine.get(&format!("/{id}{path}")).await.status, 200, "{path}");
            assert_eq!(theirs.get(&format!("/{id}{path}")).await.status, 404, "{path}");
        }
        assert_eq!(theirs.get(&format!("/{id}/events")).await.status, 404);
        for path in ["/pause", "/resume", "/cancel", "/retry"] {
            assert_eq!(theirs.post(&format!("/{id}{path}"), Value::Null).await.status, 404, "{path}");
        }
        assert!(bench.server.state().controls.is_empty());
        assert_eq!(theirs.get("").await.json()["items"], json!([]));
        assert_eq!(mine.get("").await.json()["items"].as_array().unwrap().len(), 1);
        // Who has no tenant sees all.
        assert_eq!(bench.get(&format!("/{id}")).await.status, 200);
    }

    async fn host_rows_are_paged_filtered_and_shown_with_people_s_statuses(database: TestDatabase) {
        use CommandStatus::{Failed, Held, Queued, Running, Succeeded};
        let bench = Bench::start(&database).await;
        let id = bench.create(5).await;
        bench.rows(id, &[Held, Queued, Running, Succeeded, Failed]);
        let mut seen = Vec::new();
        let mut path = format!("/{id}/hosts?limit=2");
        loop {
            let page = bench.get(&path).await.json();
            seen.extend(page["items"].as_array().unwrap().clone());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/{id}/hosts?limit=2&cursor={cursor}");
        }
        let statuses: Vec<&str> = seen.iter().map(|row| row["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["queued", "queued", "running", "succeeded", "failed"]);
        assert_eq!(seen[4]["host_id"], json!(host_id(4)));

        let failed = bench.get(&format!("/{id}/hosts?status=failed")).await.json();
        assert_eq!(failed["items"].as_array().unwrap().len(), 1);
        assert_eq!(code(&bench.get(&format!("/{id}/hosts?status=held")).await), refused(422, "invalid-field"));
        assert_eq!(code(&bench.get(&format!("/{id}/hosts?cursor=abc")).await), refused(400, "malformed"));
        assert_eq!(bench.get(&format!("/{id}/hosts?limit=501")).await.status, 422);
    }

    async fn a_page_at_the_end_of_what_is_written_says_where_to_go_on(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(3).await;
        bench.rows(id, &[CommandStatus::Queued]);
        let page = bench.get(&format!("/{id}/hosts")).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 1);
        let cursor = page["next_cursor"].as_str().unwrap().to_owned();
        bench.rows(id, &[CommandStatus::Queued; 3]);
        let rest = bench.get(&format!("/{id}/hosts?cursor={cursor}")).await.json();
        assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (2, &Value::Null));
    }

    async fn the_stored_output_of_a_host_is_answered_as_it_was(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(1).await;
        bench.rows(id, &[CommandStatus::Succeeded]);
        let path = format!("/{id}/hosts/{}/output", host_id(0));
        let empty = bench.get(&path).await.json();
        assert_eq!((&empty["stdout"]["total_bytes"], &empty["stdout"]["truncated"]), (&json!(0), &json!(false)));
        let mut output = fleetwright_plugin_api::sdk::CommandOutput::default();
        output.stdout.head = vec![0xff, 0x0a];
        output.stdout.total_bytes = 9;
        bench.server.state().outputs.insert(row(id, 0, CommandStatus::Succeeded).id, output);
        let shown = bench.get(&path).await.json();
        assert_eq!((&shown["stdout"]["head"], &shown["stdout"]["truncated"]), (&json!("/wo="), &json!(true)));
    }

    async fn a_list_is_newest_first_and_pages_without_doubles(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let mut created = Vec::new();
        for number in 0..7 {
            created.push(bench.create(1).await);
            // Some share a time: the id orders them.
            if number % 2 == 0 {
                bench.server.advance(std::time::Duration::from_millis(1));
            }
        }
        let mut seen = Vec::new();
        let mut path = "?limit=3".to_owned();
        loop {
            let page = bench.get(&path).await.json();
            let items = page["items"].as_array().unwrap().clone();
            assert!(items.len() <= 3);
            seen.extend(items.iter().map(id_of));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("?limit=3&cursor={cursor}");
        }
        let mut sorted = seen.clone();
        sorted.sort();
        created.sort();
        assert_eq!(sorted, created, "each exactly once");
        let times: Vec<String> = {
            let page = bench.get("?limit=500").await.json();
            let items = page["items"].as_array().unwrap().clone();
            items.iter().map(|item| item["created_at"].as_str().unwrap().to_owned()).collect()
        };
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
        assert_eq!(code(&bench.get("?cursor=eyJ9").await), refused(400, "malformed"));
    }

    async fn filters_see_what_is_whatever_was_followed(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let done = bench.create(2).await;
        bench.server.advance(std::time::Duration::from_secs(1));
        let running = bench.create(2).await;
        bench.server.advance(std::time::Duration::from_secs(1));
        let waiting = bench.create(2).await;
        bench.finish(done, 2, 0, 0);
        bench.change(running, |set| (set.queued, set.running) = (1, 1));
        let listed = async |query: &str| -> Vec<Uuid> {
            let page = bench.get(query).await.json();
            page["items"].as_array().unwrap().iter().map(id_of).collect()
        };
        // Both before and after the stored statuses were brought up to date.
        for _pass in 0..2 {
            assert_eq!(listed("?status=succeeded").await, [done]);
            assert_eq!(listed("?status=running").await, [running]);
            assert_eq!(listed("?status=queued").await, [waiting]);
            assert_eq!(listed("?status=failed").await, Vec::<Uuid>::new());
            fleetwright_module_bulk::controller::follow_once(&bench.handle).await.unwrap();
        }
        assert_eq!(listed("?status=queued&limit=1").await, [waiting]);
        assert_eq!(listed("?operation_type=reboot").await, Vec::<Uuid>::new());
        assert_eq!(listed("?operation_type=run_script&limit=2").await, [waiting, running]);
        assert_eq!(listed("?created_after=2026-01-01T00:00:00.5Z&created_before=2026-01-01T00:00:02Z").await, [running]);
        assert_eq!(code(&bench.get("?status=paused").await), refused(422, "invalid-field"));
    }

    async fn controls_follow_the_state_and_leave_one_audit_row_each(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(3).await;
        let control = async |name: &str, body: Value| bench.post(&format!("/{id}/{name}"), body).await;

        assert_eq!(code(&control("resume", Value::Null).await), refused(409, "invalid-transition"));
        let paused = control("pause", Value::Null).await;
        assert_eq!((paused.status, &paused.json()["paused"]), (200, &json!(true)));
        let again = control("pause", Value::Null).await;
        assert_eq!((again.status, &again.headers["etag"]), (200, &paused.headers["etag"]));
        let resumed = control("resume", Value::Null).await;
        assert_eq!((resumed.status, &resumed.json()["paused"]), (200, &json!(false)));

        bench.change(id, |set| (set.queued, set.running) = (2, 1));
        let cancelled = control("cancel", json!({"running": "finish"})).await;
        assert_eq!((cancelled.status, &cancelled.json()["cancelling"]), (200, &json!(true)));
        assert_eq!(control("cancel", Value::Null).await.status, 200);
        let pause = control("pause", Value::Null).await;
        assert_eq!(code(&pause), refused(409, "invalid-transition"));
        assert!(pause.json()["detail"].as_str().unwrap().contains("cancelling"));
        assert_eq!(control("cancel", json!({"running": "kill"})).await.status, 200);
        bench.finish(id, 1, 0, 2);
        assert_eq!(bench.get(&format!("/{id}")).await.json()["status"], "cancelled");
        for name in ["pause", "resume", "cancel"] {
            let answer = control(name, Value::Null).await;
            assert_eq!(code(&answer), refused(409, "invalid-transition"), "{name}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("cancelled"), "{name}");
        }
        assert_eq!(control("cancel", json!({"runing": "kill"})).await.status, 422);

        let state = bench.server.state();
        let actions: Vec<&str> = state.audits.iter().map(|audit| audit.action.as_str()).collect();
        assert_eq!(actions, ["bulk.create", "bulk.pause", "bulk.resume", "bulk.cancel", "bulk.cancel"]);
        let applied: Vec<&SetAction> = state.controls.iter().map(|control| &control.action).collect();
        assert_eq!(*applied[0], SetAction::Pause);
        assert_eq!(*applied[1], SetAction::Resume);
        assert!(matches!(applied[2], SetAction::Cancel { kill: false, hosts: None, .. }));
        assert!(matches!(applied[3], SetAction::Cancel { kill: true, hosts: None, .. }));
        assert!(state.controls.iter().all(|control| control.expect_generation.is_some()));
    }

    async fn a_cancel_with_a_selector_is_for_those_hosts_only(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(3).await;
        let path = format!("/{id}/cancel");
        let answer = bench.post(&path, json!({"selector": {"hosts": 2}, "running": "kill"})).await;
        assert_eq!((answer.status, &answer.json()["cancelling"]), (200, &json!(false)));
        {
            let state = bench.server.state();
            let expected = vec![host_id(0), host_id(1)];
            let SetAction::Cancel { kill: true, hosts: Some(hosts), .. } = &state.controls[0].action else {
                panic!("{:?}", state.controls);
            };
            assert_eq!(*hosts, expected);
        }
        let empty = bench.post(&path, json!({"selector": {"hosts": 0}})).await;
        assert_eq!(code(&empty), refused(422, "selection-empty"));
        let wrong = bench.post(&path, json!({"selector": {"x": 0}})).await;
        assert_eq!(pointers(&wrong), ["/selector/hosts"]);
        assert_eq!(bench.server.state().controls.len(), 1);
    }

    async fn a_cancel_of_single_hosts_waits_for_their_rows(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(3).await;
        bench.server.state().unready_controls = 2;
        let answer = bench.post(&format!("/{id}/cancel"), json!({"selector": {"hosts": 2}})).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        let state = bench.server.state();
        assert_eq!((state.unready_controls, state.controls.len(), state.audits.len()), (0, 1, 2));
    }

    async fn if_match_refuses_a_control_on_a_state_the_client_has_not_seen(database: TestDatabase) {
        let bench = Bench::start(&database).await;
        let id = bench.create(3).await;
        let path = format!("/{id}/pause");
        let tag = bench.get(&format!("/{id}")).await.headers["etag"].to_str().unwrap().to_owned();
        bench.change(id, |set| (set.queued, set.running) = (2, 1));
        let stale = bench.post_with(&path, "if-match", &tag).await;
        assert_eq!(code(&stale), refused(412, "precondition-failed"));
        assert!(bench.server.state().controls.is_empty());
        let tag = bench.get(&format!("/{id}")).await.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(bench.post_with(&path, "if-match", &tag).await.status, 200);
    }

    async fn a_retry_is_a_new_operation_on_what_failed(database: TestDatabase) {
        use CommandStatus::{Failed, Running, Skipped, Succeeded};
        let bench = Bench::start(&database).await;
        let mut request = body(4);
        request["timeout_seconds"] = json!(77);
        let id = id_of(&bench.post("", request).await.json());
        let path = format!("/{id}/retry");
        assert_eq!(code(&bench.post(&path, Value::Null).await), refused(422, "selection-empty"));
        bench.rows(id, &[Failed, Succeeded, Skipped, Running]);

        let answer = bench.post(&path, Value::Null).await;
        assert_eq!(answer.status, 202);
        let retried = answer.json();
        assert_eq!((&retried["parent_id"], &retried["total"]), (&json!(id), &json!(1)));
        assert_ne!(id_of(&retried), id);
        let both = bench.post(&path, json!({"statuses": ["failed", "skipped"], "reason": "again"})).await;
        assert_eq!(both.json()["total"], 2);
        assert_eq!(bench.post(&path, json!({"statuses": ["succeeded"]})).await.status, 422);

        let state = bench.server.state();
        assert_eq!(state.created_sets[1].1, [host_id(0)]);
        assert_eq!(state.created_sets[2].1, [host_id(0), host_id(2)]);
        assert_eq!(state.created_sets[1].0.timeout_seconds, 77);
        assert_eq!(state.created_sets[1].0.parameters, json!({"script": "echo hi"}));
        assert_eq!(state.audits[1].action, "bulk.retry");
        assert_eq!(state.responses.len(), 3, "each has its own idempotency record");
    }
}
