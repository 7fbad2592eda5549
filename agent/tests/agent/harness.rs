//! An agent's core in a temporary folder, with the real program as supervisor, and a hand on its frames.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetwright_agent::blobs::Blobs;
use fleetwright_agent::config::Config;
use fleetwright_agent::core::{Core, Input, Settings};
use fleetwright_agent::launch::Launcher;
use fleetwright_agent::{agent, facts, procfs};
use fleetwright_protocol::frame::{CommandFrame, Hello};
use fleetwright_protocol::{AgentFrame, CommandId, Facts, NotStartedReason, Outcome, ServerFrame};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Longer than anything takes on a busy machine; reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fleetwright-agent");

/// One life of an agent over a folder that outlasts it.
pub struct Agent {
    runtime: Option<Runtime>,
    inputs: Option<mpsc::Sender<Input>>,
    controls: mpsc::Receiver<AgentFrame>,
    outputs: mpsc::Receiver<AgentFrame>,
    /// What it said when it connected.
    pub hello: Hello,
    pub said: Vec<AgentFrame>,
}

/// What survives an agent.
pub struct Host {
    pub folder: TempDir,
    pub config: Config,
}

impl Host {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more lines of settings.
    pub fn with(settings: &str) -> Self {
        Self::with_system(settings, |_| Vec::new())
    }

    /// With more lines of settings, and the tools that stand for the system's own. Those that are not named do not
    /// work: no test touches the machine it runs on.
    pub fn with_system(settings: &str, system: impl Fn(&Path) -> Vec<(&str, Value)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut tools = BTreeMap::from([
            ("cgroup", json!("none")),
            ("boot_id_file", json!(folder.path().join("boot_id"))),
            ("reboot_command", json!(["/bin/false"])),
            ("shutdown_command", json!(["/bin/false"])),
            ("package_manager", json!(["/bin/false"])),
            ("service_manager", json!("none")),
        ]);
        tools.extend(system(folder.path()));
        // JSON's texts and lists of texts are TOML's too.
        let tools: Vec<String> = tools
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        let text = format!(
            "data_dir = {:?}\n{settings}\n[system]\n{}\n",
            folder.path().join("data"),
            tools.join("\n"),
        );
        std::fs::write(folder.path().join("boot_id"), "first-boot\n").unwrap();
        std::fs::write(folder.path().join("agent.toml"), &text).unwrap();
        let config =
            Config::from_parts(toml::from_str(&text).unwrap(), std::iter::empty()).unwrap();
        Self { folder, config }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As after a restart of the machine: what ran before is gone, and the boot has another name.
    pub fn reboot(&self) {
        std::fs::write(self.path("boot_id"), "another-boot\n").unwrap();
    }

    pub fn run_folder(&self, command: &CommandFrame) -> PathBuf {
        let name = format!("{}-{}", command.command_id, command.attempt);
        self.config.data_dir.join("run").join(name)
    }

    pub fn start(&self) -> Agent {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (inputs, from_connection) = mpsc::channel(64);
        let config = &self.config;
        let launcher = Launcher::of(PathBuf::from(PROGRAM));
        runtime.block_on(async {
            let executor = agent::executor(config, launcher, Blobs::Unavailable).unwrap();
            let settings = Settings {
                concurrency: config.concurrency,
                boot_id: facts::boot_id(config.boot_id_file()),
                tags: Vec::new(),
                attributes: BTreeMap::new(),
            };
            let journal = agent::open_journal(&config.data_dir).unwrap();
            tokio::spawn(Core::new(settings, Arc::new(executor), journal).run(from_connection));
        });
        let (controls, outputs) = connect(&inputs);
        let mut agent = Agent {
            runtime: Some(runtime),
            inputs: Some(inputs),
            controls,
            outputs,
            hello: no_hello(),
            said: Vec::new(),
        };
        agent.greet();
        agent
    }
}

impl Agent {
    /// Dies without a word, as by `kill -9`: nothing it had in hand is finished.
    pub fn die(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.inputs = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// The connection breaks and comes back.
    pub fn reconnect(&mut self) {
        self.put(Input::Disconnected);
        let (controls, outputs) = connect(self.inputs.as_ref().unwrap());
        self.controls = controls;
        self.outputs = outputs;
        self.greet();
    }

    fn greet(&mut self) {
        self.hello = self.expect("hello", |frame| match frame {
            AgentFrame::Hello(hello) => Some((**hello).clone()),
            _ => None,
        });
        self.send(ServerFrame::Welcome {
            protocol: "1.0".into(),
            server_version: "test".into(),
            host_id: Uuid::nil().into(),
            heartbeat_seconds: 10,
        });
    }

    pub fn send(&self, frame: ServerFrame) {
        self.put(Input::Frame(Box::new(frame)));
    }

    fn put(&self, input: Input) {
        let sent = self.inputs.as_ref().unwrap().blocking_send(input);
        assert!(sent.is_ok(), "the core has ended");
    }

    pub fn command(&self, command: &CommandFrame) {
        self.send(ServerFrame::Command(command.clone()));
    }

    pub fn ack(&self, command: &CommandFrame) {
        self.send(ServerFrame::Ack {
            command_id: command.command_id,
            attempt: command.attempt,
        });
    }

    /// Waits for a frame that `wanted` recognises; others are kept in `said`.
    pub fn expect<T>(&mut self, what: &str, mut wanted: impl FnMut(&AgentFrame) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.controls.try_recv() {
                Ok(frame) => {
                    let found = wanted(&frame);
                    self.said.push(frame);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(_) => assert!(
                    Instant::now() < deadline,
                    "no {what}; it said {:#?}",
                    self.said
                ),
            }
            pause();
        }
    }

    pub fn finished(&mut self, command: &CommandFrame) -> Outcome {
        self.expect("command_finished", |frame| match frame {
            AgentFrame::CommandFinished {
                command_id,
                attempt,
                outcome,
            } if (*command_id, *attempt) == (command.command_id, command.attempt) => {
                Some((**outcome).clone())
            }
            _ => None,
        })
    }

    pub fn not_started(&mut self, command: &CommandFrame) -> NotStartedReason {
        self.expect("command_not_started", |frame| match frame {
            AgentFrame::CommandNotStarted {
                command_id,
                attempt,
                reason,
            } if (*command_id, *attempt) == (command.command_id, command.attempt) => reason.known(),
            _ => None,
        })
    }

    pub fn started(&mut self, command: &CommandFrame) {
        self.expect("command_started", |frame| {
            matches!(frame, AgentFrame::CommandStarted { command_id, .. } if *command_id == command.command_id)
                .then_some(())
        });
    }

    pub fn received(&mut self, command: &CommandFrame) {
        self.expect("command_received", |frame| {
            matches!(frame, AgentFrame::CommandReceived { command_id, .. } if *command_id == command.command_id)
                .then_some(())
        });
    }

    pub fn live_output(&mut self) -> AgentFrame {
        let mut found = None;
        wait("live output", || {
            found = self.outputs.try_recv().ok();
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends a script, waits for its end and acknowledges it.
    pub fn run_script(&mut self, script: &str) -> Outcome {
        let command = script_command(script);
        self.command(&command);
        let outcome = self.finished(&command);
        self.ack(&command);
        outcome
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits on a condition, without a fixed time.
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        pause();
    }
}

/// Between two looks; a test that spins takes the processor from the agent it waits for.
fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "polling needs one pause, and this is it"
    )]
    std::thread::sleep(Duration::from_millis(2));
}

pub fn script_command(script: &str) -> CommandFrame {
    command(json!({"operation_type": "run_script", "parameters": {"script": script}}))
}

pub fn command(operation: Value) -> CommandFrame {
    CommandFrame {
        secrets: fleetwright_protocol::SecretValues::new(),
        command_id: CommandId(Uuid::new_v4()),
        attempt: 1,
        operation,
        timeout_seconds: 300,
        start_within_ms: 60_000,
        ttl_ms: 600_000,
    }
}

/// Waits until a script has written its process id there.
pub fn pid_in(path: &Path) -> u32 {
    let mut pid = None;
    wait("a pid file", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

pub fn lives(pid: u32) -> bool {
    procfs::process(pid).is_some_and(|process| !process.zombie)
}

/// A program of the test's own.
pub fn write_program(path: &Path, script: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, script).unwrap();
    copy_program(&new, path);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// By another process: a thread may fork while this one has the file open for writing, and then it could not be run.
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// The lines of a file that may not be there.
pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub fn stdout(outcome: &Outcome) -> String {
    String::from_utf8(outcome.stdout.head.clone()).unwrap()
}

fn connect(
    inputs: &mpsc::Sender<Input>,
) -> (mpsc::Receiver<AgentFrame>, mpsc::Receiver<AgentFrame>) {
    let (control, controls) = mpsc::channel(1_024);
    let (output, outputs) = mpsc::channel(32);
    let input = Input::Connected {
        control,
        output,
        facts: Box::new(Facts::default()),
    };
    assert!(inputs.blocking_send(input).is_ok(), "the core has ended");
    (controls, outputs)
}

fn no_hello() -> Hello {
    serde_json::from_value(json!({"protocol": "", "journal_id": Uuid::nil()})).unwrap()
}
