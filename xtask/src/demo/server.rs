//! The demo's server: its configuration, its start, and when it is ready.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::place::Place;
use crate::cargo::Profile;
use crate::children::{Children, log_tail};
use crate::keys::Vendor;
use crate::steps::say;
use crate::wait;

pub const USER: &str = "admin";
const READY_WITHIN: Duration = Duration::from_secs(60);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Server {
    address: SocketAddr,
    pub url: String,
    pub agent_url: String,
    pub password: String,
}

impl Server {
    /// Without a vendor it is a community server. It returns when the server is ready.
    pub fn start(
        port: Option<u16>,
        vendor: Option<&Vendor>,
        place: &Place,
        children: &mut Children,
    ) -> Result<Self> {
        // Port 0: the kernel chooses, and the server writes down what it got.
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
        let config = place.folder.join("server.toml");
        std::fs::write(&config, configuration(vendor, place, listen))?;
        let password = random_password()?;
        let log = place.folder.join("server.log");
        let mut command = Command::new(Profile::Dev.folder().join("fleetwright-server"));
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("FLEETWRIGHT_ADMIN_PASSWORD", &password);
        children.spawn("the server", command, &log)?;
        let ready = wait::until("the server to be ready", READY_WITHIN, || {
            children.check()?;
            Ok(addresses(&place.folder.join("server")).filter(|(address, _)| is_ready(*address)))
        });
        let (address, agent_address) = ready.with_context(|| log_tail(&log))?;
        say(&format!(
            "http://{address}, agents at https://{agent_address}, log in {}",
            log.display()
        ));
        Ok(Self {
            address,
            url: format!("http://{address}"),
            agent_url: format!("https://{agent_address}"),
            password,
        })
    }

    /// One GET without a token, the whole answer as text.
    pub fn get(&self, path: &str) -> Result<String> {
        get(self.address, path)
    }
}

fn configuration(vendor: Option<&Vendor>, place: &Place, listen: SocketAddr) -> String {
    let data = place.folder.join("server");
    let mut lines = vec![
        format!("listen = {:?}", listen.to_string()),
        "agent_listen = \"127.0.0.1:0\"".to_owned(),
        format!("data_dir = {data:?}"),
        format!("modules_dir = {:?}", place.modules),
    ];
    if let Some(vendor) = vendor {
        lines.push(format!("trusted_keys = [{:?}]", vendor.public_key()));
        lines.push("allow_development_keys = true".to_owned());
        lines.push(format!("license_file = {:?}", vendor.license()));
        lines.extend(["preemption = true", "budgets = true"].map(str::to_owned));
    }
    lines.join("\n") + "\n"
}

/// The operators' and the agents' address, from the file the server writes beside its data.
fn addresses(data: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(data.join("addresses.json")).ok()?;
    let document: serde_json::Value = serde_json::from_str(&text).ok()?;
    let address = |name: &str| document.get(name)?.as_str()?.parse().ok();
    Some((address("listen")?, address("agent_listen")?))
}

fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, HTTP_TIMEOUT)?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// 96 random bits; the demo listens on this machine only.
fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 12];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
