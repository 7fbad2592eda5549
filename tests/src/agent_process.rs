//! A real agent process: enrolled with its own folder, facts of its own, and nothing of the machine within reach.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::binaries;
use crate::process::{Process, program};
use crate::server_process::private_folder;

#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Its own; made if missing.
    pub folder: PathBuf,
    pub fqdn: String,
    pub server_url: String,
    pub heartbeat_seconds: u64,
    /// More lines of TOML, before any table.
    pub extra: String,
    /// What its program is started with, such as `nsenter` into its host's network. Usually nothing.
    pub within: Vec<String>,
    /// Its program, if it is not the one that was built.
    pub program: Option<PathBuf>,
}

impl AgentSettings {
    /// What would touch the machine always fails, and the facts are invented.
    fn toml(&self) -> String {
        let hostname = self.fqdn.split('.').next().unwrap_or_default();
        let boot_id = self.folder.join("boot_id");
        let mut lines = vec![
            format!("server_url = {:?}", self.server_url),
            format!("data_dir = {:?}", self.folder.join("data")),
            format!("heartbeat_seconds = {}", self.heartbeat_seconds),
        ];
        if !self.extra.contains("reconnect_seconds_max") {
            // An agent may be in its longest pause when a server comes back, and tests wait a minute for it.
            lines.push("reconnect_seconds_max = 5".to_owned());
        }
        lines.push(self.extra.clone());
        lines.extend([
            "[facts]".to_owned(),
            format!("fqdn = {:?}", self.fqdn),
            format!("hostname = {hostname:?}"),
            "platform = \"linux\"".to_owned(),
            "platform_release = \"debian\"".to_owned(),
            "platform_version = \"12.11\"".to_owned(),
            "memory_available_mb = 1024".to_owned(),
            "[system]".to_owned(),
            "reboot_command = [\"/bin/false\"]".to_owned(),
            "shutdown_command = [\"/bin/false\"]".to_owned(),
            "package_manager = [\"/bin/false\"]".to_owned(),
            "service_manager = \"none\"".to_owned(),
            "cgroup = \"none\"".to_owned(),
            format!("boot_id_file = {boot_id:?}"),
        ]);
        lines.join("\n") + "\n"
    }
}

pub struct AgentProcess {
    pub settings: AgentSettings,
    process: Option<Process>,
}

impl AgentProcess {
    /// Enrols with the token. The agent does not run yet.
    pub fn enroll(settings: AgentSettings, token: &str) -> Self {
        private_folder(&settings.folder.join("data"));
        std::fs::write(
            settings.folder.join("boot_id"),
            "00000000-0000-4000-8000-000000000001\n",
        )
        .expect("the agent's folder can be written");
        std::fs::write(settings.folder.join("agent.toml"), settings.toml())
            .expect("the agent's folder can be written");
        let agent = Self {
            settings,
            process: None,
        };
        let url = agent.settings.server_url.clone();
        let output = agent
            .command(&["enroll", "--server", &url])
            .env("FLEETWRIGHT_AGENT_TOKEN", token)
            .output()
            .expect("the agent's program can be run");
        assert!(
            output.status.success(),
            "enrollment of {}: {}{}",
            agent.settings.fqdn,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        agent
    }

    /// One whose folder has an identity and a configuration already. It does not run yet.
    pub fn of_enrolled(settings: AgentSettings) -> Self {
        Self {
            settings,
            process: None,
        }
    }

    /// Replaces a part of its configuration, which its next start reads.
    pub fn reconfigure(&self, part: &str, by: &str) {
        let path = self.settings.folder.join("agent.toml");
        let text = std::fs::read_to_string(&path).expect("an enrolled agent has a configuration");
        assert!(text.contains(part), "{part} is not in {text}");
        std::fs::write(&path, text.replace(part, by)).expect("the agent's folder can be written");
    }

    pub fn run(&mut self) {
        assert!(self.process.is_none(), "the agent runs already");
        let name = format!("the agent {}", self.settings.fqdn);
        let log = self.settings.folder.join("agent.log");
        self.process = Some(Process::spawn(&name, &self.command(&["run"]), &log));
    }

    /// `kill -9` of the agent; what it started lives on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the agent runs")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.settings.folder.join("agent.log")).unwrap_or_default()
    }

    /// What it says of itself, running or not.
    pub fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]).output();
        let output = output.expect("the agent's program can be run");
        serde_json::from_slice(&output.stdout).expect("the status is JSON")
    }

    /// The agent's program with its own configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let own = self.settings.program.clone();
        let own = own.unwrap_or_else(binaries::agent);
        let mut within = self.settings.within.iter();
        let mut command = match within.next() {
            None => program(own),
            Some(first) => {
                let mut command = program(PathBuf::from(first));
                command.args(within).arg(own);
                command
            }
        };
        command
            .arg("--config")
            .arg(self.settings.folder.join("agent.toml"))
            .args(words);
        command
    }
}
