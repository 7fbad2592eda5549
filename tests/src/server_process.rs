//! A real server process: configured in a folder of its own, on ports the kernel chose, killable, and restartable on
//! the same data and the same ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::net::TcpSocket;

use crate::binaries;
use crate::http::{self, Request};
use crate::process::{Process, program};
use crate::wait::wait_for;

/// A debug build with its modules and a migration on a loaded machine.
const START_PATIENCE: Duration = Duration::from_secs(60);
pub const ADMIN: &str = "admin";
pub const ADMIN_PASSWORD: &str = "correct horse battery staple";

#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Holds everything: configuration, log, data, modules.
    pub folder: PathBuf,
    /// `None`: SQLite in the data folder.
    pub database_url: Option<String>,
    pub trusted_key: Option<PathBuf>,
    /// The watched licence file; it may not exist yet.
    pub license_file: PathBuf,
    /// More lines of TOML, before any table.
    pub extra: String,
    /// Where agents are listened for; the port is the kernel's choice.
    pub agent_host: IpAddr,
    /// Where systemd would listen for how far the server is.
    pub notify_socket: Option<PathBuf>,
    /// More variables it is started with.
    pub environment: Vec<(String, String)>,
}

impl ServerSettings {
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn modules_dir(&self) -> PathBuf {
        self.folder.join("modules")
    }

    fn toml(&self, listen: SocketAddr, agent_listen: SocketAddr) -> String {
        let mut lines = vec![
            format!("listen = {:?}", listen.to_string()),
            format!("agent_listen = {:?}", agent_listen.to_string()),
            format!("data_dir = {:?}", self.data_dir()),
            format!("modules_dir = {:?}", self.modules_dir()),
            format!("license_file = {:?}", self.license_file),
            "allow_development_keys = true".to_owned(),
        ];
        if let Some(url) = &self.database_url {
            lines.push(format!("database_url = {url:?}"));
        }
        if let Some(key) = &self.trusted_key {
            lines.push(format!("trusted_keys = [{key:?}]"));
        }
        lines.push(self.extra.clone());
        lines.join("\n") + "\n"
    }
}

pub struct ServerProcess {
    pub settings: ServerSettings,
    process: Option<Process>,
    pub listen: SocketAddr,
    pub agent_listen: SocketAddr,
    /// Its ports are its own between its lives, too.
    _ports: [Option<TcpSocket>; 2],
}

impl ServerProcess {
    /// Starts it on free ports and returns when it is ready.
    pub fn start(settings: ServerSettings) -> Self {
        for folder in [settings.data_dir(), settings.modules_dir()] {
            private_folder(&folder);
        }
        let (listen, kept) = keep_port(Ipv4Addr::LOCALHOST.into());
        let (agent_listen, agents_kept) = keep_port(settings.agent_host);
        let mut server = Self {
            settings,
            process: None,
            listen,
            agent_listen,
            _ports: [kept, agents_kept],
        };
        server.launch();
        server.wait_ready();
        server
    }

    /// Starts the process again, on the same data and ports, without waiting for it.
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// The same for a life that ends by itself at a failpoint: `<module>:<before|after>:<n>`, around the n-th commit of that
    /// module. Only debug builds of the server can.
    pub fn launch_until(&mut self, failpoint: &str) {
        self.launch_with(&[("FLEETWRIGHT_ABORT_AT", failpoint)]);
    }

    /// Whether the life has ended at its failpoint. Panics if it ended in any other way.
    pub fn has_reached_failpoint(&mut self) -> bool {
        let ended = self.process.as_mut().and_then(Process::ended);
        let Some(status) = ended else {
            return false;
        };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let abort = rustix::process::Signal::ABORT.as_raw();
        assert_eq!(signal, Some(abort), "the server ended by itself ({status})");
        self.process = None;
        true
    }

    fn launch_with(&mut self, environment: &[(&str, &str)]) {
        assert!(self.process.is_none(), "the server runs already");
        let config = self.settings.folder.join("server.toml");
        let text = self.settings.toml(self.listen, self.agent_listen);
        std::fs::write(&config, text).expect("the test's folder can be written");
        let _ = std::fs::remove_file(self.addresses_file());
        let mut command = program(binaries::server());
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("FLEETWRIGHT_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .envs(environment.iter().copied())
            .envs(self.settings.environment.iter().cloned());
        if let Some(socket) = &self.settings.notify_socket {
            command.env("NOTIFY_SOCKET", socket);
        }
        let log = self.settings.folder.join("server.log");
        self.process = Some(Process::spawn("the server", &command, &log));
    }

    pub fn wait_ready(&mut self) {
        let (listen, agent_listen) = wait_for("the server's addresses", START_PATIENCE, || {
            self.assert_running();
            read_addresses(&self.addresses_file())
        });
        (self.listen, self.agent_listen) = (listen, agent_listen);
        wait_for("the server to be ready", START_PATIENCE, || {
            self.assert_running();
            self.is_ready().then_some(())
        });
    }

    /// Waits until the process that was launched has refused to run, and returns what it said.
    pub fn wait_refusal(&mut self) -> String {
        let mut process = self.process.take().expect("the server was launched");
        let status = wait_for("the server to refuse", START_PATIENCE, || process.ended());
        assert!(!status.success(), "it ended as if all were well");
        self.log()
    }

    pub fn is_ready(&self) -> bool {
        http::once(self.listen, &Request::new("GET", "/readyz"))
            .is_ok_and(|answer| answer.status == 200)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, waits for the end, tells how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the server runs");
        process.stop()
    }

    /// Runs again on the same data and ports and waits until ready.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
        self.wait_ready();
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.settings.folder.join("server.log")).unwrap_or_default()
    }

    pub fn agent_url(&self) -> String {
        format!("https://{}", self.agent_listen)
    }

    fn addresses_file(&self) -> PathBuf {
        self.settings.data_dir().join("addresses.json")
    }

    fn assert_running(&mut self) {
        let ended = self.process.as_mut().and_then(Process::ended);
        if let Some(status) = ended {
            panic!("the server ended by itself ({status})");
        }
    }
}

/// A free port, and what keeps it from being given to anybody who asks for just any. It never listens, so that a server
/// may bind beside it. Without it, the server finds a port itself.
fn keep_port(host: IpAddr) -> (SocketAddr, Option<TcpSocket>) {
    let any = SocketAddr::new(host, 0);
    let keep = || -> std::io::Result<(SocketAddr, TcpSocket)> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(any)?;
        Ok((socket.local_addr()?, socket))
    };
    keep().map_or((any, None), |(address, socket)| (address, Some(socket)))
}

fn read_addresses(path: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(path).ok()?;
    let document: serde_json::Value = serde_json::from_str(&text).ok()?;
    let address = |name: &str| document.get(name)?.as_str()?.parse().ok();
    Some((address("listen")?, address("agent_listen")?))
}

/// A folder only its owner can enter: what the server demands of its modules' folder.
pub fn private_folder(folder: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}
