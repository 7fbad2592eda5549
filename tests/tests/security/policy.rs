//! An agent's policy, its helpers and its rollbacks against a server that means harm.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fleetwright_tests::binaries;
use fleetwright_tests::fleet::Setup;
use fleetwright_tests::wait::{PATIENCE, wait_until};
use serde_json::{Value, json};

/// One host's folder: the agent's program carries out operations in it as a server would have it do.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        set_mode(host.0.path(), 0o755);
        std::fs::create_dir(host.path("www")).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a program of the test's own, which nothing has open for writing any more when this returns.
    fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let staged = self.path("staged");
        std::fs::write(&staged, text).unwrap();
        let copied = Command::new("cp").arg(&staged).arg(&path).status().unwrap();
        assert!(copied.success());
        set_mode(&path, 0o755);
        path
    }

    /// The agent, with these lines of policy and of what stands for the machine; started within `within`.
    fn agent(&self, within: &[&str], policy: &str, system: &str) -> Command {
        let settings = format!(
            "data_dir = {:?}\n[policy]\n{policy}\n[system]\ncgroup = \"none\"\nreboot_command = [\"/bin/false\"]\n\
             shutdown_command = [\"/bin/false\"]\n{system}\n",
            self.path("agent"),
        );
        std::fs::write(self.path("agent.toml"), settings).unwrap();
        let mut words = within.iter().map(PathBuf::from).chain([binaries::agent()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command.arg("--config").arg(self.path("agent.toml"));
        command.args(["exec", "--json", "-"]);
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command
    }

    /// What came of it; a refusal before anything was begun is a text.
    fn run(&self, mut agent: Command, operation: &Value) -> Value {
        agent
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = agent.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(operation.to_string().as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stderr)))
    }

    fn ask(&self, policy: &str, system: &str, operation: &Value) -> Value {
        self.run(self.agent(&[], policy, system), operation)
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("not here: this needs root");
    }
    root
}

fn deploy(path: &str, content: &str) -> Value {
    let parameters =
        json!({"path": path, "content": content, "create_parents": true, "mode": "0755"});
    json!({"operation_type": "deploy_file", "parameters": parameters})
}

fn service(options: &Value) -> Value {
    let parameters = json!({"service": "fw-none", "action": "start"});
    json!({"operation_type": "service_control", "parameters": parameters, "options": options})
}

fn packages(options: &Value) -> Value {
    let parameters = json!({"packages": ["fw-none"]});
    json!({"operation_type": "install_package", "parameters": parameters, "options": options})
}

fn says(answer: &Value, words: &str) -> bool {
    answer.to_string().contains(words)
}

#[test]
fn variables_reach_nothing_that_the_agent_runs_by_itself() {
    let host = Host::new();
    let marker = host.path("PWNED");
    let fake = format!("#!/bin/sh\nid > {}\nexit 0\n", marker.display());
    for tool in [
        "systemctl",
        "apt-get",
        "apt-cache",
        "dpkg-query",
        "env",
        "service",
        "sh",
    ] {
        host.program(&format!("www/{tool}"), &fake);
    }
    // The manager is a script of its owner's, and says what it was given.
    let seen = host.path("seen");
    let manager = host.program(
        "manager",
        &format!(
            "#!/bin/bash\n/usr/bin/env > {}\necho LoadState=loaded\necho ActiveState=inactive\n",
            seen.display()
        ),
    );
    let path = format!("{}:/usr/bin:/bin", host.text("www"));
    let shell = host.text("www/sh");
    let evil = [
        ("PATH", path.as_str()),
        ("BASH_ENV", shell.as_str()),
        ("PERL5OPT", "-d"),
        ("ENV", "x"),
        ("HARMLESS", "x"),
    ];
    type Ask = fn(&Value) -> Value;
    let managers: [(String, Ask); 3] = [
        ("service_manager = \"systemd\"".to_owned(), service),
        (format!("service_manager = {manager:?}"), service),
        ("package_manager = [\"apt\"]".to_owned(), packages),
    ];
    for (system, operation) in &managers {
        for (name, value) in evil {
            // From the server: not at all.
            let options = json!({"environment": {name: value}});
            let refused = host.ask("", system, &operation(&options));
            assert!(
                says(&refused, "environment is for run_script"),
                "{name} {refused}"
            );
            // From whatever started the agent: not handed on.
            let mut agent = host.agent(&[], "", system);
            agent.env(name, value);
            host.run(agent, &operation(&json!({})));
            assert!(!marker.exists(), "{system} {name}");
        }
    }
    let given = std::fs::read_to_string(&seen).unwrap();
    let mut names: Vec<&str> = given
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    // The last three are bash's own.
    names.retain(|name| !["PWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(
        names,
        ["FLEETWRIGHT_COMMAND_ID", "HOME", "LANG", "LC_ALL", "PATH"]
    );
    // A plan gives them to its scripts, and none to what is beside them.
    let step = |mut operation: Value| {
        operation["name"] = operation["operation_type"].clone();
        operation.as_object_mut().unwrap().remove("options");
        operation
    };
    let script =
        json!({"operation_type": "run_script", "parameters": {"script": "echo $HARMLESS"}});
    let plan = |steps: &[&Value]| {
        let steps: Vec<Value> = steps
            .iter()
            .map(|operation| step((*operation).clone()))
            .collect();
        json!({"operation_type": "apply_deployment_plan", "parameters": {"steps": steps},
            "options": {"environment": {"HARMLESS": "given"}}})
    };
    let refused = host.ask("", &managers[1].0, &plan(&[&script, &service(&json!({}))]));
    assert!(says(&refused, "step 2 is service_control"), "{refused}");
    let done = host.ask("", "", &plan(&[&script]));
    assert_eq!(
        done["details"]["steps"][0]["stdout_tail"], "given\n",
        "{done}"
    );
}

#[test]
fn a_policy_holds_for_every_name_of_a_place() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    std::fs::create_dir_all(host.path("usr/bin/deep")).unwrap();
    symlink("usr/bin", host.path("bin")).unwrap();
    std::fs::write(host.path("usr/bin/tool"), "x").unwrap();
    std::fs::hard_link(host.path("usr/bin/tool"), host.path("www/other")).unwrap();
    for mounted in ["whole", "part"] {
        std::fs::create_dir(host.path(mounted)).unwrap();
    }
    std::fs::write(host.path("one"), "").unwrap();
    // In a namespace of its own, where that may be made.
    let mounts = format!(
        "mount --bind {0}/usr/bin {0}/whole && mount --bind {0}/usr/bin/deep {0}/part && mount --bind {0}/usr/bin/tool {0}/one && exec \"$@\"",
        host.0.path().display()
    );
    let within = [
        "unshare",
        "--mount",
        "--",
        "sh",
        "-c",
        mounts.as_str(),
        "sh",
    ];
    let can_mount = Command::new(within[0])
        .args(&within[1..])
        .arg("true")
        .status();
    let within: &[&str] = if can_mount.is_ok_and(|status| status.success()) {
        &within
    } else {
        &[]
    };
    for denied in ["bin", "usr/bin"] {
        let policy = format!("deny_paths = [{:?}]", host.text(denied));
        let mut places = vec![
            "bin/new",
            "usr/bin/new",
            "usr/bin/deep/er/new",
            // The name itself may not be made a file either.
            denied,
            "usr/./bin/tool",
        ];
        if within.is_empty() {
            println!("not here: nothing can be mounted");
        } else {
            places.extend(["whole/new", "part/new", "part/er/new", "one"]);
        }
        for place in places {
            let answer = host.run(
                host.agent(within, &policy, ""),
                &deploy(&host.text(place), "evil"),
            );
            assert_eq!(
                answer["reason"], "refused_by_policy",
                "{denied}: {place} {answer}"
            );
        }
        let plan = json!({"operation_type": "apply_deployment_plan", "parameters": {"steps": [
            {"name": "fine", "operation_type": "deploy_file", "parameters": {"path": host.text("www/fine"), "content": ""}},
            {"name": "not", "operation_type": "deploy_file", "parameters": {"path": host.text("bin/new"), "content": ""}},
        ]}});
        let answer = host.ask(&policy, "", &plan);
        assert_eq!(answer["reason"], "refused_by_policy", "{answer}");
        assert!(!host.path("www/fine").exists(), "nothing of it is begun");
        let allowed = host.ask(&policy, "", &deploy(&host.text("www/new"), "x"));
        assert_eq!(allowed["status"], "succeeded", "{allowed}");
    }
    let policy = format!("deny_paths = [{:?}]", host.text("usr/bin/tool"));
    let answer = host.ask(&policy, "", &deploy(&host.text("www/other"), "evil"));
    assert_eq!(answer["reason"], "refused_by_policy", "{answer}");
    assert_eq!(std::fs::read_dir(host.path("usr/bin")).unwrap().count(), 2);
    // What is allowed is a place as well.
    let policy = format!("allow_paths = [{:?}]", host.text("bin"));
    for (place, reason) in [
        ("usr/bin/new", Value::Null),
        ("www/new", json!("refused_by_policy")),
    ] {
        let answer = host.ask(&policy, "", &deploy(&host.text(place), "x"));
        assert_eq!(answer["reason"], reason, "{place} {answer}");
    }
}

#[test]
fn the_agents_own_files_are_denied_without_a_policy() {
    let host = Host::new();
    host.ask(
        "",
        "",
        &deploy(&host.text("www/first"), "so that the data folder is there"),
    );
    std::fs::write(host.path("agent/agent.key"), "key").unwrap();
    std::fs::hard_link(host.path("agent/agent.key"), host.path("www/key")).unwrap();
    std::fs::hard_link(host.path("agent.toml"), host.path("www/toml")).unwrap();
    symlink("agent", host.path("door")).unwrap();
    let program = binaries::agent().canonicalize().unwrap();
    for path in [
        host.text("agent.toml"),
        host.text("./agent.toml"),
        host.text("www/toml"),
        host.text("www/key"),
        host.text("agent/agent.key"),
        host.text("agent/run/x/y"),
        host.text("agent"),
        program.to_str().unwrap().to_owned(),
        "/etc/systemd/system/fleetwright-agent.service".to_owned(),
        "/etc/systemd/system/fleetwright-agent.service.d/mine.conf".to_owned(),
        "/etc/fleetwright/agent.toml".to_owned(),
    ] {
        // A dry run, should it be let: nothing of this machine is touched.
        let mut operation = deploy(&path, "evil");
        operation["options"] = json!({"dry_run": true});
        let answer = host.ask("", "", &operation);
        assert_eq!(answer["reason"], "refused_by_policy", "{path} {answer}");
        assert!(says(&answer, "the agent's own"), "{path} {answer}");
    }
    let through = host.ask("", "", &deploy(&host.text("door/agent.key"), "evil"));
    assert_eq!(through["status"], "failed", "{through}");
    assert_eq!(
        std::fs::read_to_string(host.path("agent/agent.key")).unwrap(),
        "key"
    );
}

#[test]
fn a_rollback_puts_back_only_what_the_plan_changed_and_as_who_changed_it() {
    if !is_root() {
        return;
    }
    let host = Host::new();
    let closed = host.path("closed");
    std::fs::create_dir(&closed).unwrap();
    let secret = closed.join("sudoers");
    std::fs::write(&secret, "old").unwrap();
    set_mode(&secret, 0o600);
    set_mode(&host.path("www"), 0o777);
    let (go, waits) = (host.text("www/go"), host.text("www/waits"));
    let file = |name: &str, path: &Path| json!({"name": name, "operation_type": "deploy_file", "on_failure": "continue", "parameters": {"path": path, "content": "planned"}});
    let script = |name: &str, script: String, on_failure: &str| json!({"name": name, "operation_type": "run_script", "on_failure": on_failure, "parameters": {"script": script}});
    let (theirs, taken) = (host.path("www/theirs"), host.path("www/taken"));
    let steps = json!({"steps": [
        file("remember", &secret),
        file("remember none", &closed.join("nologin")),
        file("theirs", &theirs),
        file("taken", &taken),
        script("wait", format!("touch {waits}; while [ ! -e {go} ]; do sleep 0.05; done"), "stop"),
        script("fail", "exit 1".to_owned(), "rollback"),
    ]});
    let plan = json!({"operation_type": "apply_deployment_plan", "parameters": steps, "options": {"run_as": "nobody"}});
    let answer = std::thread::scope(|scope| {
        let running = scope.spawn(|| host.ask("allow_users = [\"nobody\"]", "", &plan));
        wait_until("the plan to be half way", PATIENCE, || {
            Path::new(&waits).exists()
        });
        // Meanwhile their owners see to them.
        std::fs::write(&secret, "new").unwrap();
        std::fs::write(closed.join("nologin"), "closed").unwrap();
        std::fs::write(&taken, "mine now").unwrap();
        std::fs::write(&go, "").unwrap();
        running.join().unwrap()
    });
    let steps = answer["details"]["steps"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let statuses: Vec<&Value> = steps.iter().map(|step| &step["status"]).collect();
    let expected = [
        "failed",
        "failed",
        "rolled_back",
        "succeeded",
        "succeeded",
        "failed",
    ];
    assert_eq!(statuses, expected, "{answer}");
    assert!(says(&steps[3]["rollback"], "left as it is"), "{answer}");
    assert!(
        says(
            &answer["message"],
            "1 of the files it deployed put back; 1 NOT put back"
        ),
        "{answer}"
    );
    assert!(!theirs.exists());
    for (path, expected) in [
        (&secret, "new"),
        (&closed.join("nologin"), "closed"),
        (&taken, "mine now"),
    ] {
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected, "{path:?}");
    }
}

#[test]
fn the_server_takes_variables_for_scripts_only() {
    let mut fleet = Setup::pro().start();
    let host = fleet.add_agent("one.test", &[]);
    let environment = json!({"PATH": "/tmp"});
    let service = json!({"service": "x", "action": "start"});
    let script = json!({"script": "true"});
    let step = |kind: &str, parameters: &Value| json!({"name": kind, "operation_type": kind, "parameters": parameters});
    let plan = json!({"steps": [step("run_script", &script), step("service_control", &service)]});
    let selector = json!({"all_hosts": true});
    for (kind, parameters, refused) in [
        ("service_control", &service, true),
        ("apply_deployment_plan", &plan, true),
        ("run_script", &script, false),
    ] {
        let asked = json!({"operation_type": kind, "parameters": parameters, "environment": environment, "health_check": {"script": "true"}});
        let mut fleetwide = asked.clone();
        fleetwide["selector"] = selector.clone();
        fleetwide["plan_only"] = json!(true);
        let mut rolling = fleetwide.clone();
        rolling["batch_size"] = json!(1);
        for (path, body) in [
            (format!("/hosts/{host}/commands"), &asked),
            ("/fleet/bulk".to_owned(), &fleetwide),
            ("/fleet/rolling".to_owned(), &rolling),
        ] {
            let answer = fleet.admin.post(&path, body);
            let text = answer.text();
            assert_eq!(
                answer.status == 422,
                refused,
                "{path} {kind}: {} {text}",
                answer.status
            );
            assert_eq!(
                text.contains("operation-environment-invalid"),
                refused,
                "{path} {kind}: {text}"
            );
            assert_eq!(
                text.contains("\"/environment\""),
                refused,
                "{path} {kind}: {text}"
            );
        }
    }
    // What a deployment of a script gives its script, its rollback of another kind does not get, and is not refused for.
    let mut rolling = json!({"operation_type": "run_script", "parameters": script, "environment": environment,
        "selector": selector, "plan_only": true, "batch_size": 1});
    rolling["rollback"] = step("service_control", &service);
    rolling["rollback"].as_object_mut().unwrap().remove("name");
    let answer = fleet.admin.post("/fleet/rolling", &rolling);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
