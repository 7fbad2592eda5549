//! What may be read by whom, and what lies open in files, rows and process lists.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fleetwright_tests::agent_process::AgentProcess;
use fleetwright_tests::client::{BASE, Client, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use fleetwright_tests::process::program;
use fleetwright_tests::server_process::{ADMIN, ServerProcess, ServerSettings, private_folder};
use fleetwright_tests::wait::{PATIENCE, wait_for};
use fleetwright_tests::{binaries, vendor};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Stands in everything that a viewer must not read.
const MARK: &str = "S3CRET-mark";
const BASE64_OF_MARK: &str = "UzNDUkVULW1hcms=";

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put_blob(client: &Client, content: &[u8]) -> (String, u16) {
    let sha256 = hex(content);
    let request = client
        .request("PUT", &format!("/blobs/{sha256}"))
        .header("content-type", "application/octet-stream")
        .bytes(content.to_vec());
    (sha256, client.send(&request).status)
}

/// An approved host whose agent never runs: what is sent to it waits.
fn enrolled(fleet: &TestFleet, name: &str) -> String {
    let token = fleet.admin.enrollment_token(1, true, &[]);
    let _enrolled = AgentProcess::enroll(fleet.agent_settings(name), &token);
    text(&fleet.admin.host_named(name).expect("enrolled"), "id")
}

/// Operations with the mark wherever a text of theirs can stand.
fn marked() -> Vec<Value> {
    let script = json!({"script": format!("curl -u admin:{MARK} x"), "args": [MARK], "env": {"DB_PASSWORD": MARK}, "stdin": MARK});
    let file = json!({"path": "/etc/key", "content": MARK, "mode": "0600"});
    let encoded = json!({"path": "/etc/key", "content_base64": BASE64_OF_MARK});
    let steps = json!({"steps": [
        {"name": "a", "operation_type": "run_script", "parameters": script},
        {"name": "b", "operation_type": "deploy_file", "parameters": file},
    ]});
    [
        ("run_script", script),
        ("deploy_file", file),
        ("deploy_file", encoded),
        ("apply_deployment_plan", steps),
    ]
    .into_iter()
    .map(|(kind, parameters)| {
        // Variables are for scripts.
        let variables = if kind == "deploy_file" {
            json!({})
        } else {
            json!({"TOKEN": MARK})
        };
        json!({"operation_type": kind, "parameters": parameters, "environment": variables,
            "health_check": {"script": format!("test {MARK}")}})
    })
    .collect()
}

/// Everything that can be made, each with marks; the paths of what was made.
fn populate(fleet: &TestFleet) -> Vec<String> {
    let admin = fleet.admin.clone();
    let host = enrolled(fleet, "web-1.test");
    let mut made = vec![format!("/hosts/{host}"), format!("/hosts/{host}/commands")];
    for operation in marked() {
        let command = admin.run_on_host(&host, &operation);
        made.push(format!("/commands/{command}"));
        let mut bulk = operation.clone();
        bulk["selector"] = json!({"all_hosts": true});
        // Fields of one operation are those of every kind.
        let id = admin.bulk(&bulk);
        made.extend(["", "/progress", "/hosts"].map(|rest| format!("/fleet/bulk/{id}{rest}")));
        let mut rolling = bulk.clone();
        rolling["batch_size"] = json!(1);
        rolling["rollback"] = json!({"operation_type": operation["operation_type"], "parameters": operation["parameters"]});
        let answer = admin.post("/fleet/rolling", &rolling).expect(202);
        let id = text(&answer, "id");
        let rest = ["", "/progress", "/hosts", "/batches", "/trace"];
        made.extend(rest.map(|rest| format!("/fleet/rolling/{id}{rest}")));
        let schedule = json!({"name": format!("s{}", made.len()), "cron": "0 0 1 1 *", "kind": "rolling",
            "operation_type": operation["operation_type"], "parameters": operation["parameters"],
            "selector": {"all_hosts": true},
            "options": {"batch_size": 1, "environment": operation["environment"], "health_check": operation["health_check"],
                "rollback": rolling["rollback"]}});
        let answer = admin.post("/fleet/schedules", &schedule).expect(201);
        let id = text(&answer, "id");
        made.extend(["", "/runs"].map(|rest| format!("/fleet/schedules/{id}{rest}")));
    }
    let body = json!({"name": "ada", "password": "a long enough password", "role": "viewer"});
    admin.post("/users", &body).expect(201);
    made
}

/// Every GET of the document that takes no id, and what was made.
fn reads(fleet: &TestFleet, made: &[String]) -> Vec<String> {
    let document = fleet.admin.get("/openapi.json").expect(200);
    let paths = document["paths"].as_object().expect("paths");
    let lists = paths
        .iter()
        .filter(|(path, item)| item["get"].is_object() && !path.contains('{'))
        .filter_map(|(path, _)| path.strip_prefix(BASE).map(str::to_owned))
        // A stream has no end.
        .filter(|path| path != "/events");
    lists.chain(made.iter().cloned()).collect()
}

#[test]
fn a_viewer_reads_no_text_of_an_operation_and_no_secret_of_the_server() {
    let fleet = Setup::pro().start();
    let made = populate(&fleet);
    let viewer = fleet.admin.token_of_role("viewer");
    let operator = fleet.admin.token_of_role("operator");
    let folder = fleet.path("").display().to_string();
    let secrets = [
        MARK,
        BASE64_OF_MARK,
        "argon2",
        "fwe_",
        folder.trim_end_matches('/'),
    ];
    let (mut read, mut shown_to_operators) = (0, 0);
    for path in reads(&fleet, &made) {
        let answer = viewer.get(&path);
        let body = answer.text();
        assert!(matches!(answer.status, 200 | 402 | 403), "{path}: {body}");
        read += usize::from(answer.status == 200);
        for secret in secrets {
            // Where modules lie is told beside the reason why one is not loaded.
            let is_modules = path == "/modules" && secret.starts_with('/');
            assert!(
                is_modules || !body.contains(secret),
                "{path} tells of {secret}: {body}"
            );
        }
        let told = operator.get(&path).text();
        shown_to_operators += usize::from(told.contains(MARK) || told.contains(BASE64_OF_MARK));
    }
    assert!(read > 40, "only {read} routes were read: the walk is blind");
    assert_eq!(shown_to_operators, 16, "the text is for operators");
    let command = made.iter().find(|path| path.starts_with("/commands/"));
    let seen = viewer.get(command.expect("one was made")).expect(200);
    let parameters = &seen["operation"]["parameters"];
    assert_eq!(
        parameters["stdin"],
        json!({"sha256": hex(MARK.as_bytes()), "bytes": MARK.len()})
    );
    assert_eq!(
        parameters["env"],
        json!({"DB_PASSWORD": {"bytes": MARK.len()}})
    );
}

#[test]
fn a_stored_answer_is_not_given_to_whoever_may_not_ask_any_more() {
    let fleet = Setup::pro().start();
    let host = enrolled(&fleet, "web-1.test");
    let body = json!({"name": "ada", "password": "a long enough password", "role": "operator"});
    let user = fleet.admin.post("/users", &body).expect(201);
    let ada = Client::login(fleet.server.listen, "ada", "a long enough password");
    let schedule = json!({"name": "s", "cron": "0 0 1 1 *", "selector": {"all_hosts": true},
        "operation_type": "run_script", "parameters": {"script": MARK}});
    let plan =
        json!({"operation_type": "run_script", "parameters": {"script": MARK}, "host_ids": [host]});
    let asked = [
        ("/fleet/schedules", schedule, 201),
        ("/plans/bulk", plan, 200),
    ];
    let send = |client: &Client, path: &str, body: &Value| -> Answer {
        client.send(
            &client
                .request("POST", path)
                .header("idempotency-key", path)
                .json(body),
        )
    };
    for (path, body, status) in &asked {
        assert_eq!(send(&ada, path, body).status, *status, "{path}");
    }
    let path = format!("/users/{}", text(&user, "id"));
    fleet
        .admin
        .patch(&path, &json!({"role": "viewer"}))
        .expect(200);
    let ada = Client::login(fleet.server.listen, "ada", "a long enough password");
    for (path, body, _) in &asked {
        let answer = send(&ada, path, body);
        assert_eq!(answer.status, 403, "{path}");
        assert!(!answer.text().contains(MARK), "{path}");
    }
}

#[test]
fn content_is_kept_while_something_refers_to_it_and_can_be_removed_after() {
    let limited = Setup::pro().with("[limits]\nblobs_mebibytes = 1");
    let fleet = limited.on(Engine::Postgres).start();
    let host = enrolled(&fleet, "web-1.test");
    let operator = fleet.admin.token_of_role("operator");
    let deploy = |sha256: &str| json!({"operation_type": "deploy_file", "parameters": {"path": "/etc/x", "blob_sha256": sha256}});
    let (free, made) = put_blob(&operator, b"free");
    assert_eq!(made, 201);
    assert_eq!(put_blob(&operator, b"free").1, 204);
    let (of_command, _) = put_blob(&operator, b"command");
    let (of_schedule, _) = put_blob(&operator, b"schedule");
    let (of_rollback, _) = put_blob(&operator, b"rollback");
    let command = operator.run_on_host(&host, &deploy(&of_command));
    let mut schedule = deploy(&of_schedule);
    schedule["name"] = json!("s");
    schedule["cron"] = json!("0 0 1 1 *");
    schedule["selector"] = json!({"all_hosts": true});
    let schedule = operator.post("/fleet/schedules", &schedule).expect(201);
    let rolling = json!({"operation_type": "run_script", "parameters": {"script": "x"}, "batch_size": 1,
        "selector": {"all_hosts": true}, "rollback": deploy(&of_rollback)});
    operator.post("/fleet/rolling", &rolling).expect(202);
    let listed = operator.all("/blobs");
    let in_use = |sha256: &str| {
        listed
            .iter()
            .find(|blob| blob["sha256"] == sha256)
            .map(|blob| blob["in_use"].clone())
    };
    assert_eq!(in_use(&free), Some(json!(false)), "{listed:?}");
    for used in [&of_command, &of_schedule, &of_rollback] {
        assert_eq!(in_use(used), Some(json!(true)), "{listed:?}");
        let answer = operator.delete(&format!("/blobs/{used}"));
        assert_eq!(
            (answer.status, answer.code()),
            (409, "blob-in-use".to_owned())
        );
    }
    assert_eq!(operator.delete(&format!("/blobs/{free}")).status, 204);
    assert_eq!(operator.delete(&format!("/blobs/{free}")).status, 404);
    operator
        .post(&format!("/commands/{command}/cancel"), &json!({}))
        .expect(200);
    operator.delete(&format!("/fleet/schedules/{}", text(&schedule, "id")));
    for path in [&of_command, &of_schedule] {
        // What was cancelled ends in a moment.
        wait_for("the content to be free", PATIENCE, || {
            let status = operator.delete(&format!("/blobs/{path}")).status;
            (status == 204).then_some(())
        });
    }
    let (_, full) = put_blob(&operator, &vec![7; 1024 * 1024]);
    assert_eq!(full, 409, "all content together has a limit");
    assert_eq!(operator.all("/blobs").len(), 1);
}

#[test]
fn a_text_without_end_is_refused_at_its_field_and_a_page_has_an_end() {
    let fleet = Setup::pro().start();
    let host = enrolled(&fleet, "web-1.test");
    let operator = fleet.admin.token_of_role("operator");
    let script = json!({"operation_type": "run_script", "parameters": {"script": "true"}});
    for reason in [
        "r".repeat(501),
        "x\u{202e}y".to_owned(),
        "\u{1b}[31m".to_owned(),
        "a\nb".to_owned(),
    ] {
        let mut command = script.clone();
        command["reason"] = json!(reason);
        let mut bulk = command.clone();
        bulk["selector"] = json!({"all_hosts": true});
        let mut rolling = bulk.clone();
        rolling["batch_size"] = json!(1);
        let command_path = format!("/hosts/{host}/commands");
        for (path, body) in [
            (command_path.as_str(), &command),
            ("/fleet/bulk", &bulk),
            ("/fleet/rolling", &rolling),
        ] {
            let answer = operator.post(path, body);
            assert_eq!(
                (answer.status, answer.code()),
                (422, "operation-reason-invalid".to_owned()),
                "{path}"
            );
            assert_eq!(answer.json()["errors"][0]["pointer"], "/reason", "{path}");
        }
    }
    let mut fine = script;
    fine["reason"] = json!("r".repeat(500));
    operator.run_on_host(&host, &fine);
    // Each of these hosts takes a fraction of a page: 64 attributes of 512 characters of four bytes.
    let attributes: Value = (0..64)
        .map(|number| (format!("a{number}"), json!("\u{1F600}".repeat(512))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for number in 0..9 {
        let host = enrolled(&fleet, &format!("large-{number}.test"));
        let change = json!({"attributes": attributes});
        fleet
            .admin
            .patch(&format!("/hosts/{host}"), &change)
            .expect(200);
    }
    let page = operator.get("/hosts?limit=500");
    assert!(
        page.text().len() < 1024 * 1024 + 200_000,
        "{} bytes",
        page.text().len()
    );
    assert!(page.json()["next_cursor"].is_string());
    assert_eq!(operator.all("/hosts").len(), 10);
}

fn mode(path: &Path) -> u32 {
    let found =
        std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    found.permissions().mode() & 0o777
}

#[test]
fn what_a_server_keeps_is_its_accounts_alone_and_its_first_password_is_in_no_journal() {
    let place = tempfile::tempdir().expect("a folder");
    let settings = ServerSettings {
        folder: place.path().join("server"),
        database_url: None,
        trusted_key: Some(vendor::vendor().public_key()),
        license_file: place.path().join("license.jwt"),
        extra: String::new(),
        agent_host: std::net::Ipv4Addr::LOCALHOST.into(),
        notify_socket: None,
        // As if no password were given: an empty one is none.
        environment: vec![("FLEETWRIGHT_ADMIN_PASSWORD".to_owned(), String::new())],
    };
    let data = settings.data_dir();
    private_folder(&data);
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let mut server = ServerProcess::start(settings);
    assert_eq!(mode(&data), 0o700);
    assert!(
        server
            .log()
            .contains("others could look into the data folder"),
        "{}",
        server.log()
    );
    for entry in std::fs::read_dir(&data).expect("there") {
        let path = entry.expect("readable").path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    let file = data.join("first-admin-password");
    let password = std::fs::read_to_string(&file).expect("kept");
    let password = password.trim();
    assert!(!server.log().contains(password), "{}", server.log());
    assert!(
        server.log().contains("first-admin-password"),
        "{}",
        server.log()
    );
    server.restart();
    assert!(file.exists(), "it was not used");
    let _admin = Client::login(server.listen, ADMIN, password);
    assert!(!file.exists(), "it was used");
    assert!(!server.log().contains(password), "{}", server.log());
}

#[test]
fn no_password_and_no_token_has_to_stand_on_a_command_line() {
    let fleet = Setup::community().start();
    let token = fleet.admin.token.clone().expect("a token");
    let file = fleet.path("token");
    std::fs::write(&file, format!("{token}\n")).expect("written");
    let mut command = program(binaries::cli());
    command
        .arg("--server")
        .arg(format!("http://{}", fleet.server.listen))
        .arg("--token-file")
        .arg(&file)
        .args(["blobs", "list"]);
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{output:?}");
}
