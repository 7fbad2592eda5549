//! `TestFleet`: a real server with its database, and, as a test asks for them, real agents, signed modules and a
//! licence. Everything ends with the value.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::agent_process::{AgentProcess, AgentSettings};
use crate::binaries::{self, MODULES};
use crate::client::{Client, text};
use crate::counts::{Kind, count};
use crate::databases::Engine;
use crate::postgres;
use crate::process::program;
use crate::server_process::{ADMIN, ADMIN_PASSWORD, ServerProcess, ServerSettings};
use crate::vendor::vendor;
use crate::wait::{PATIENCE, wait_for};

/// Agents of tests say that they live more often than real ones, so that tests see changes soon.
const HEARTBEAT_SECONDS: u64 = 2;
/// Tests ask more often than people do.
const SETTINGS: &str = "";

pub struct TestFleet {
    // Fields drop in order: agents before their server, the server before its folder.
    pub agents: Vec<AgentProcess>,
    pub server: ServerProcess,
    pub admin: Client,
    folder: TempDir,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub engine: Engine,
    /// There from the start, with a licence for everything.
    pub modules: &'static [&'static str],
    /// More lines of server configuration.
    pub extra: String,
    pub agent_host: IpAddr,
}

impl Setup {
    pub fn community() -> Self {
        Self {
            engine: Engine::Sqlite,
            modules: &[],
            extra: SETTINGS.to_owned(),
            agent_host: Ipv4Addr::LOCALHOST.into(),
        }
    }

    pub fn pro() -> Self {
        Self {
            modules: &MODULES,
            ..Self::community()
        }
    }

    /// One with a single module starts sooner.
    pub fn only(module: &'static [&'static str; 1]) -> Self {
        Self {
            modules: module,
            ..Self::community()
        }
    }

    #[must_use]
    pub fn on(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.extra.push('\n');
        self.extra.push_str(line);
        self
    }

    pub fn start(self) -> TestFleet {
        TestFleet::start(self)
    }
}

impl TestFleet {
    fn start(setup: Setup) -> Self {
        count(match setup.engine {
            Engine::Sqlite => Kind::Sqlite,
            Engine::Postgres => Kind::Postgres,
        });
        let folder = tempfile::Builder::new()
            .prefix("fleetwright-test-")
            .tempdir()
            .expect("a temporary folder can be made");
        let database_url = match setup.engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(postgres::cluster().create_database()),
        };
        let settings = ServerSettings {
            folder: folder.path().join("server"),
            database_url,
            trusted_key: Some(vendor().public_key()),
            license_file: folder.path().join("license.jwt"),
            extra: setup.extra,
            agent_host: setup.agent_host,
            notify_socket: None,
            environment: Vec::new(),
        };
        if !setup.modules.is_empty() {
            count(Kind::SharedObject);
            crate::server_process::private_folder(&settings.modules_dir());
            for module in setup.modules {
                vendor().install(module, &settings.modules_dir());
            }
            vendor().issue_license(&["--all-features", "--days", "30"], &settings.license_file);
        }
        let server = ServerProcess::start(settings);
        let admin = Client::login(server.listen, ADMIN, ADMIN_PASSWORD).token_of_role("admin");
        Self {
            agents: Vec::new(),
            server,
            admin,
            folder,
        }
    }

    pub fn engine(&self) -> Engine {
        match self.server.settings.database_url {
            None => Engine::Sqlite,
            Some(_) => Engine::Postgres,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The built command line, signed in as the administrator, without input and without a configuration of its own.
    pub fn command_line(&self) -> Command {
        self.signed_in(binaries::cli())
    }

    /// Any program that begins the command line, likewise.
    pub fn signed_in(&self, path: PathBuf) -> Command {
        let mut command = program(path);
        command
            .env(
                "FLEETWRIGHT_SERVER",
                format!("http://{}", self.server.listen),
            )
            .env(
                "FLEETWRIGHT_TOKEN",
                self.admin.token.as_deref().unwrap_or_default(),
            )
            .env("FLEETWRIGHT_CONFIG", self.path("no-config.toml"))
            .stdin(Stdio::null());
        command
    }

    /// Drops a module into the running server's folder.
    pub fn install_module(&self, name: &str) {
        count(Kind::SharedObject);
        vendor().install(name, &self.server.settings.modules_dir());
    }

    /// Drops a licence where the running server watches.
    pub fn install_license(&self, words: &[&str]) {
        let arriving = self.path("license.arriving");
        vendor().issue_license(words, &arriving);
        std::fs::rename(arriving, &self.server.settings.license_file)
            .expect("a file can be renamed in its folder");
    }

    /// Enrols and runs a real agent with an approved host, and returns the host's id once it is online.
    pub fn add_agent(&mut self, fqdn: &str, tags: &[&str]) -> String {
        let token = self.admin.enrollment_token(1, true, tags);
        self.add_agent_with(fqdn, &token, "")
    }

    /// The same with a given token and more lines of agent configuration. Returns once the host is listed (and
    /// online, if it is approved).
    pub fn add_agent_with(&mut self, fqdn: &str, token: &str, extra: &str) -> String {
        let settings = AgentSettings {
            extra: extra.to_owned(),
            ..self.agent_settings(fqdn)
        };
        self.add_agent_of(settings, token)
    }

    /// What agents of tests are set to unless a test changes it.
    pub fn agent_settings(&self, fqdn: &str) -> AgentSettings {
        AgentSettings {
            folder: self.path(&format!("agent-{fqdn}")),
            fqdn: fqdn.to_owned(),
            server_url: self.server.agent_url(),
            heartbeat_seconds: HEARTBEAT_SECONDS,
            extra: String::new(),
            within: Vec::new(),
            program: None,
        }
    }

    /// The same with any settings, such as another way to the server.
    pub fn add_agent_of(&mut self, settings: AgentSettings, token: &str) -> String {
        let fqdn = &settings.fqdn.clone();
        let mut agent = AgentProcess::enroll(settings, token);
        agent.run();
        self.agents.push(agent);
        let host = wait_for(&format!("{fqdn} to be known"), PATIENCE, || {
            self.admin.host_named(fqdn)
        });
        let id = text(&host, "id");
        if host["approval_status"] == "approved" {
            self.admin.wait_online(&id);
        }
        id
    }

    pub fn agent(&mut self, fqdn: &str) -> &mut AgentProcess {
        self.agents
            .iter_mut()
            .find(|agent| agent.settings.fqdn == fqdn)
            .unwrap_or_else(|| panic!("no agent {fqdn}"))
    }

    /// Runs a script on a host and waits for its end.
    pub fn run_script(&self, host_id: &str, script: &str) -> Value {
        let id = self
            .admin
            .run_on_host(host_id, &crate::client::script(script));
        self.admin.wait_command(&id)
    }
}
