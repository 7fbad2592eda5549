//! A secret reaches the host that needs it and stands nowhere else.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_tests::client::{Client, text};
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::http::Answer;
use fleetwright_tests::process::program;
use fleetwright_tests::wait::{PATIENCE, wait_for};
use fleetwright_tests::{binaries, postgres};
use regex::bytes::Regex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A value that occurs nowhere by chance.
fn unique(word: &str) -> String {
    format!("{word}-{}", uuid::Uuid::new_v4().simple())
}

fn set(fleet: &TestFleet, name: &str, value: &str) -> Value {
    let path = format!("/secrets/{}", name.replace('/', "%2F"));
    fleet
        .admin
        .put(&path, &json!({ "value": value }))
        .expect(200)
}

fn digest(value: &str) -> String {
    hex::encode(Sha256::digest(value))
}

/// The files below a folder that hold any of the values, as they are or in base64.
fn holding(folder: &Path, values: &[&str]) -> Vec<String> {
    let needles: Vec<String> = values
        .iter()
        .flat_map(|value| [(*value).to_owned(), STANDARD.encode(value)])
        .map(|needle| regex::escape(&needle))
        .collect();
    let needles = Regex::new(&needles.join("|")).expect("texts make a pattern");
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && needles.is_match(&bytes)
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// The processes whose words hold the value.
fn in_process_list(value: &str) -> Vec<String> {
    let words = |entry: std::fs::DirEntry| {
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains(value).then_some(words)
    };
    let processes = std::fs::read_dir("/proc").expect("there is a process list");
    processes.flatten().filter_map(words).collect()
}

#[track_caller]
fn assert_answers_hold_none(fleet: &TestFleet, paths: &[String], values: &[&str]) {
    for role in ["viewer", "operator", "admin"] {
        let caller = fleet.admin.token_of_role(role);
        for path in paths {
            let answer = caller.get(path).text();
            for value in values {
                assert!(!answer.contains(value), "{role}, {path}: {answer}");
                assert!(
                    !answer.contains(&STANDARD.encode(value)),
                    "{role}, {path}, base64"
                );
            }
        }
    }
}

/// Prints its secrets in every way, and their digests to prove that they came.
const TELLTALE: &str = r#"
printf %s "$DB_PASSWORD" | sha256sum
tee copy-$$ >/dev/null; sha256sum < copy-$$; cat copy-$$; rm copy-$$
echo "password: $DB_PASSWORD!"; echo "again: $DB_PASSWORD" >&2
printf '%.9s' "$DB_PASSWORD"; printf '%s\n' "${DB_PASSWORD#?????????}"
printf %s "$DB_PASSWORD" | base64
head -c 70000 /dev/zero | tr '\0' x; echo "$DB_PASSWORD"
touch ready; until [ -e go ]; do sleep 0.05; done
"#;

fn output(fleet: &TestFleet, id: &str) -> String {
    let stored = fleet
        .admin
        .get(&format!("/commands/{id}/output"))
        .expect(200);
    let bytes = |stream: &str, end: &str| {
        let encoded = stored[stream][end].as_str().unwrap_or_default();
        STANDARD.decode(encoded).unwrap_or_else(|_| encoded.into())
    };
    let parts = [("stdout", "head"), ("stdout", "tail"), ("stderr", "head")];
    let all: Vec<u8> = parts
        .iter()
        .flat_map(|(stream, end)| bytes(stream, end))
        .collect();
    String::from_utf8_lossy(&all).into_owned()
}

fn runs_and_leaves_nothing(engine: Engine) {
    let mut fleet = Setup::pro()
        .on(engine)
        .with("[log]\nlevel = \"debug\"")
        .start();
    let host = fleet.add_agent("one.test", &["web"]);
    let agent = fleet.agent("one.test").settings.folder.clone();
    let place = fleet.path("place");
    std::fs::create_dir(&place).expect("a folder");
    let password = unique("hunter2");
    let key = format!(
        "-----BEGIN KEY-----\n{}\n{}\n-----END KEY-----\n",
        unique("line1"),
        unique("line2")
    );
    let lines: Vec<&str> = key
        .lines()
        .filter(|line| line.starts_with("line"))
        .collect();
    let values = [password.as_str(), lines[0], lines[1]];
    set(&fleet, "db/password", "an older one");
    set(&fleet, "db/password", &password);
    set(&fleet, "app/key", &key);

    // A script, with a variable and its standard input.
    let body = json!({"operation_type": "run_script", "working_directory": place, "parameters": {
        "script": TELLTALE, "env": {"DB_PASSWORD": {"secret": "db/password"}}, "stdin_secret": "app/key"}});
    let id = fleet.admin.run_on_host(&host, &body);
    let path = format!("/commands/{id}");
    wait_for("the script to run", PATIENCE, || {
        (fleet.admin.get(&path).expect(200)["status"] == "running").then_some(())
    });
    wait_for("the script to wait", PATIENCE, || {
        place.join("ready").exists().then_some(())
    });
    assert_eq!(in_process_list(&password), Vec::<String>::new());
    assert_eq!(
        holding(&agent, &values),
        Vec::<String>::new(),
        "while it runs"
    );
    std::fs::write(place.join("go"), "").expect("a file");
    let ended = fleet.admin.wait_command(&id);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let printed = output(&fleet, &id);
    assert!(
        printed.contains(&digest(&password)) && printed.contains(&digest(&key)),
        "{printed:.400}"
    );
    for masked in [
        "password: [secret db/password]!",
        "again: [secret db/password]",
        "x[secret db/password]",
    ] {
        assert!(printed.contains(masked), "{masked}: {printed:.800}");
    }
    assert_eq!(
        printed.matches("[secret db/password]").count(),
        5,
        "{printed:.800}"
    );
    assert!(printed.contains("[secret app/key]"));
    for value in values {
        assert!(!printed.contains(value) && !printed.contains(&STANDARD.encode(value)));
    }

    // A plan that deploys one, checks its host with one, and puts back what holds one.
    let target = place.join("app.key");
    let deploy = |name: &str, parameters: Value| json!({"name": name, "operation_type": "deploy_file", "parameters": parameters});
    let plan = |steps: Vec<Value>| {
        json!({"operation_type": "apply_deployment_plan", "parameters": {"steps": steps},
        "environment": {"CHECKED": {"secret": "db/password", "version": 2}},
        "health_check": {"script": "echo checked $CHECKED; [ -n \"$CHECKED\" ]"}})
    };
    let secret_file = deploy(
        "key",
        json!({"path": target, "content_secret": {"secret": "app/key"}}),
    );
    let good = fleet.admin.run_on_host(&host, &plan(vec![secret_file]));
    let ended = fleet.admin.wait_command(&good);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let whole = fleet.admin.get(&format!("/commands/{good}")).expect(200);
    assert!(
        whole.to_string().contains("checked [secret db/password]"),
        "{whole}"
    );
    assert_eq!(std::fs::read_to_string(&target).expect("it is there"), key);
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&target).expect("it is there"));
    assert_eq!(mode & 0o777, 0o600);
    let mut plain = deploy("plain", json!({"path": target, "content": "no secret"}));
    plain["on_failure"] = json!("stop");
    let fails = json!({"name": "fails", "operation_type": "run_script", "on_failure": "rollback",
        "parameters": {"script": format!("cat {}; echo $P; exit 3", target.display()), "env": {"P": {"secret": "app/key"}}}});
    let bad = fleet.admin.run_on_host(&host, &plan(vec![plain, fails]));
    assert_eq!(fleet.admin.wait_command(&bad)["status"], "failed");
    assert_eq!(
        std::fs::read_to_string(&target).expect("it is there"),
        key,
        "put back"
    );

    // Over many hosts.
    let script = "printf %s \"$P\" | sha256sum; echo $P";
    let bulk = json!({"operation_type": "run_script", "selector": {"all_hosts": true},
        "parameters": {"script": script, "env": {"P": {"secret": "db/password"}}}});
    let bulk = fleet.admin.bulk(&bulk);
    assert_eq!(fleet.admin.wait_bulk(&bulk)["status"], "succeeded");
    let rows = json!(fleet.admin.bulk_hosts(&bulk)).to_string();
    assert!(rows.contains(&digest(&password)), "{rows}");

    let paths: Vec<String> = [&id, &good, &bad]
        .into_iter()
        .flat_map(|id| [format!("/commands/{id}"), format!("/commands/{id}/output")])
        .chain([
            format!("/hosts/{host}/commands"),
            format!("/hosts/{host}"),
            "/secrets".to_owned(),
            "/audit?limit=500".to_owned(),
            format!("/fleet/bulk/{bulk}"),
            format!("/fleet/bulk/{bulk}/hosts"),
            format!("/fleet/bulk/{bulk}/hosts/{host}/output"),
        ])
        .collect();
    assert_answers_hold_none(&fleet, &paths, &values);
    let audit = fleet.admin.get("/audit?limit=500").text();
    assert!(
        audit.contains("secret.set") && audit.contains("db/password"),
        "{audit}"
    );
    assert_eq!(
        holding(&agent, &values),
        Vec::<String>::new(),
        "on the agent's disk"
    );
    fleet.server.stop();
    assert_eq!(
        holding(&fleet.path("server"), &values),
        Vec::<String>::new(),
        "with the server"
    );
    if engine == Engine::Postgres {
        let cluster = postgres::cluster().folder();
        assert_eq!(
            holding(cluster, &values),
            Vec::<String>::new(),
            "in the database"
        );
    }
}

#[test]
fn a_secret_reaches_its_host_and_stands_nowhere_else_on_sqlite() {
    runs_and_leaves_nothing(Engine::Sqlite);
}

#[test]
fn a_secret_reaches_its_host_and_stands_nowhere_else_on_postgres() {
    runs_and_leaves_nothing(Engine::Postgres);
}

/// A token of an operator with these scopes, and what running something asks for besides.
fn operator(fleet: &TestFleet, scopes: &[&str]) -> Client {
    let body = |more: &[&str]| {
        let scopes = [scopes, more].concat();
        json!({"name": "narrow", "role": "operator", "scopes": scopes})
    };
    let mut made = fleet
        .admin
        .post("/tokens", &body(&["hosts", "fleet", "operations"]));
    if made.status == 422 {
        made = fleet.admin.post("/tokens", &body(&["hosts", "fleet"]));
    }
    fleet.admin.with_token(&text(&made.expect(201), "token"))
}

fn with_variable(reference: Value) -> Value {
    json!({"operation_type": "run_script", "parameters": {"script": "echo ran >> ran", "env": {"P": reference}}})
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, pointer: &str) {
    let told = answer.text();
    assert_eq!(answer.status, status, "{told}");
    assert!(
        told.contains(code) && told.contains(pointer),
        "{code} {pointer}: {told}"
    );
}

#[test]
fn who_may_not_use_a_secret_there_launches_nothing_with_it() {
    let mut fleet = Setup::pro().start();
    let (inside, outside) = (
        fleet.add_agent("in.test", &["db"]),
        fleet.add_agent("out.test", &[]),
    );
    let group = json!({"name": "databases", "selector": {"tags": ["db"]}});
    fleet.admin.post("/fleet/groups", &group).expect(201);
    set(&fleet, "free", &unique("free"));
    let bound = json!({"value": unique("bound"), "groups": ["databases"]});
    fleet
        .admin
        .put("/secrets/bound/to/group", &bound)
        .expect(200);
    // A new version keeps its groups.
    fleet
        .admin
        .put(
            "/secrets/bound/to/group",
            &json!({"value": unique("bound")}),
        )
        .expect(200);
    fleet
        .admin
        .put("/secrets/binary", &json!({"value_base64": "/wD/AP8A/wA="}))
        .expect(200);
    let send = |caller: &Client, host: &str, reference: Value| {
        caller.post(
            &format!("/hosts/{host}/commands"),
            &with_variable(reference),
        )
    };
    let named = |name: &str| json!({ "secret": name });
    let at = "/parameters/env/P";

    let (without, with) = (operator(&fleet, &[]), operator(&fleet, &["secrets.use"]));
    let viewer = fleet.admin.token_of_role("viewer");
    assert_refused(&send(&viewer, &inside, named("free")), 403, "forbidden", "");
    assert_refused(
        &send(&without, &inside, named("free")),
        403,
        "secrets.use",
        "",
    );
    assert_refused(
        &send(&without, &inside, named("nosuch")),
        403,
        "secrets.use",
        "",
    );
    assert_refused(
        &send(&with, &inside, named("nosuch")),
        422,
        "secret-unknown",
        at,
    );
    assert_refused(
        &send(&with, &inside, json!({"secret": "free", "version": 2})),
        422,
        "secret-unknown",
        at,
    );
    assert_refused(
        &send(&with, &inside, named("../free")),
        422,
        "operation-secret-invalid",
        at,
    );
    assert_refused(
        &send(&with, &inside, named("binary")),
        422,
        "secret-not-text",
        at,
    );
    assert_refused(
        &send(&with, &outside, named("bound/to/group")),
        422,
        "secret-not-for-host",
        at,
    );
    assert_refused(&viewer.get("/secrets"), 403, "forbidden", "");
    assert_refused(&with.get("/secrets"), 403, "forbidden", "");
    assert_refused(
        &fleet
            .admin
            .token_of_role("operator")
            .put("/secrets/x", &json!({"value": "x"})),
        403,
        "forbidden",
        "",
    );

    // The same over many hosts, before anything is stored.
    let over = |path: &str, more: Value| {
        let mut body = with_variable(named("bound/to/group"));
        body["selector"] = json!({"all_hosts": true});
        for (name, value) in more.as_object().expect("an object") {
            body[name] = value.clone();
        }
        with.post(path, &body)
    };
    assert_refused(
        &over("/fleet/bulk", json!({})),
        422,
        "secret-not-for-host",
        at,
    );
    assert_refused(
        &over("/fleet/bulk", json!({"plan_only": true})),
        422,
        "secret-not-for-host",
        at,
    );
    assert_refused(
        &over("/fleet/rolling", json!({"batch_size": 1})),
        422,
        "secret-not-for-host",
        at,
    );
    let undo = json!({"operation_type": "deploy_file", "parameters": {"path": "/x", "content_secret": "nosuch"}});
    let rollback = json!({"batch_size": 1, "parameters": {"script": "true"}, "rollback": undo});
    let rollback = over("/fleet/rolling", rollback);
    assert_refused(
        &rollback,
        422,
        "secret-unknown",
        "/rollback/parameters/content_secret",
    );
    let mut body = with_variable(named("free"));
    body["selector"] = json!({"all_hosts": true});
    assert_refused(&without.post("/fleet/bulk", &body), 403, "secrets.use", "");

    // A schedule asks anew at each fire, as its owner.
    body["name"] = json!("nightly");
    body["cron"] = json!("0 0 1 1 *");
    body["selector"] = json!({"tags": ["db"]});
    let schedule = text(&without.post("/fleet/schedules", &body).expect(201), "id");
    without.post(&format!("/fleet/schedules/{schedule}/run"), &json!({}));
    wait_for("the fire to be refused", PATIENCE, || {
        let runs = fleet
            .admin
            .all(&format!("/fleet/schedules/{schedule}/runs"));
        runs.iter()
            .any(|run| run["status"] == "failed_to_launch")
            .then_some(())
    });
    for host in [&inside, &outside] {
        assert!(
            fleet
                .admin
                .all(&format!("/hosts/{host}/commands"))
                .is_empty()
        );
    }
    assert!(
        fleet.admin.all("/fleet/bulk").is_empty() && fleet.admin.all("/fleet/rolling").is_empty()
    );

    // Who may, may, where it may go.
    let sent = send(&with, &inside, named("bound/to/group")).expect(201);
    assert_eq!(
        fleet.admin.wait_command(&text(&sent, "id"))["status"],
        "succeeded"
    );
    body["name"] = json!("allowed");
    let schedule = text(&with.post("/fleet/schedules", &body).expect(201), "id");
    with.post(&format!("/fleet/schedules/{schedule}/run"), &json!({}));
    wait_for("the fire to succeed", PATIENCE, || {
        let runs = fleet
            .admin
            .all(&format!("/fleet/schedules/{schedule}/runs"));
        runs.iter()
            .any(|run| run["status"] == "succeeded")
            .then_some(())
    });
}

fn refused_when_sent(engine: Engine) {
    let mut fleet = Setup::pro().on(engine).start();
    let host = fleet.add_agent("one.test", &[]);
    let ran = fleet.path("ran");
    set(&fleet, "a/b", &unique("first"));
    fleet.agent("one.test").stop();
    let script = format!("echo \"$P\" >> {}", ran.display());
    let body = json!({"operation_type": "run_script", "parameters": {"script": script, "env": {"P": {"secret": "a/b"}}}});
    let single = fleet.admin.run_on_host(&host, &body);
    let mut over = body.clone();
    over["selector"] = json!({"all_hosts": true});
    let bulk = fleet.admin.bulk(&over);
    assert_eq!(fleet.admin.delete("/secrets/a/b").status, 204);
    assert_eq!(fleet.admin.delete("/secrets/a/b").status, 404);
    assert_eq!(fleet.admin.delete("/secrets/a%00").status, 400);
    fleet.agent("one.test").run();
    let ended = fleet.admin.wait_command(&single);
    assert_eq!(
        (&ended["status"], &ended["reason"]),
        (&json!("skipped"), &json!("secret_unavailable"))
    );
    assert_eq!(fleet.admin.wait_bulk(&bulk)["status"], "failed");
    let rows = fleet.admin.bulk_hosts(&bulk);
    assert_eq!(rows[0]["reason"], "secret_unavailable", "{rows:?}");
    assert!(!ran.exists(), "nothing was sent");

    // It comes back under the next number, and what names the old one finds none.
    assert_eq!(set(&fleet, "a/b", &unique("second"))["version"], 2);
    let mut old = body.clone();
    old["parameters"]["env"]["P"]["version"] = json!(1);
    let path = format!("/hosts/{host}/commands");
    assert_refused(
        &fleet.admin.post(&path, &old),
        422,
        "secret-unknown",
        "/parameters/env/P",
    );
    let again = fleet.admin.run_on_host(&host, &body);
    assert_eq!(fleet.admin.wait_command(&again)["status"], "succeeded");

    // A server with another key says so, and sends nothing.
    fleet.server.stop();
    let key = fleet.server.settings.data_dir().join("secrets.key");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).expect("the key is there"));
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&key, [9; 32]).expect("the key can be replaced");
    fleet.server.launch();
    fleet.server.wait_ready();
    assert!(
        fleet.server.log().contains("secrets that cannot be read"),
        "{}",
        fleet.server.log()
    );
    assert_refused(
        &fleet.admin.post(&path, &body),
        422,
        "secret-unreadable",
        "/parameters/env/P",
    );
}

#[test]
fn a_deleted_secret_is_noticed_before_anything_is_sent_on_sqlite() {
    refused_when_sent(Engine::Sqlite);
}

#[test]
fn a_deleted_secret_is_noticed_before_anything_is_sent_on_postgres() {
    refused_when_sent(Engine::Postgres);
}

#[test]
fn the_command_line_sets_secrets_from_files_and_hands_them_to_scripts() {
    let mut fleet = Setup::pro().start();
    fleet.add_agent("one.test", &[]);
    let value = unique("from-a-file");
    let file = fleet.path("value");
    std::fs::write(&file, format!("{value}\n")).expect("a file");
    let run = |words: &[&str]| {
        let mut command = program(binaries::cli());
        let input = std::fs::File::open(&file).expect("the file");
        let token = fleet.admin.token.as_deref().unwrap_or_default();
        command
            .env(
                "FLEETWRIGHT_SERVER",
                format!("http://{}", fleet.server.listen),
            )
            .env("FLEETWRIGHT_TOKEN", token)
            .env("FLEETWRIGHT_CONFIG", fleet.path("none.toml"))
            .stdin(Stdio::from(input))
            .args(["--yes"])
            .args(words);
        let output = command.output().expect("it can be run");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            output.status.success() && !told.contains(&value),
            "{words:?}: {told}"
        );
        told
    };
    run(&["secrets", "set", "db/password"]);
    assert!(run(&["secrets", "list"]).contains("db/password"));
    let script = "printf %s \"$P\" | sha256sum; sha256sum; echo \"= $P\"";
    let told = run(&[
        "hosts",
        "run",
        "one.test",
        "--secret",
        "P=db/password",
        "--stdin-secret",
        "db/password@1",
        "--",
        script,
    ]);
    assert_eq!(told.matches(&digest(&value)).count(), 2, "{told}");
    assert!(told.contains("= [secret db/password]"), "{told}");
    run(&[
        "run",
        "all",
        "--secret",
        "P=db/password",
        "--",
        "test -n \"$P\"",
    ]);
    run(&["secrets", "delete", "db/password"]);
    assert!(!run(&["secrets", "list"]).contains("db/password"));
}
