//! A secret reaches the host that needs it and stands nowhere else.

mod refusals;

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_tests::databases::Engine;
use fleetwright_tests::fleet::{Setup, TestFleet};
use fleetwright_tests::postgres;
use fleetwright_tests::wait::{PATIENCE, wait_for};
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
    let plan = |mut steps: Vec<Value>| {
        // Variables are for scripts and the check that follows them.
        steps.push(
            json!({"name": "s", "operation_type": "run_script", "parameters": {"script": "true"}}),
        );
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

#[test]
fn the_command_line_sets_secrets_from_files_and_hands_them_to_scripts() {
    let mut fleet = Setup::pro().start();
    fleet.add_agent("one.test", &[]);
    let value = unique("from-a-file");
    let file = fleet.path("value");
    std::fs::write(&file, format!("{value}\n")).expect("a file");
    let run = |words: &[&str]| {
        let mut command = fleet.command_line();
        let input = std::fs::File::open(&file).expect("the file");
        command.stdin(Stdio::from(input)).arg("--yes").args(words);
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
