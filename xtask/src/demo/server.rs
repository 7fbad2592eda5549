//! The demo's server: its configuration, its start, and when it is ready.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::place::Place;
use crate::cargo::Profile;
use crate::children::Children;
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
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.map_or_else(free_port, Ok)?));
        let agent_address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = place.folder.join("server.toml");
        std::fs::write(
            &config,
            configuration(vendor, place, address, agent_address),
        )?;
        let password = random_password()?;
        let log = place.folder.join("server.log");
        let mut command = Command::new(Profile::Dev.folder().join("fleetwright-server"));
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .env("FLEETWRIGHT_ADMIN_PASSWORD", &password);
        children.spawn("the server", command, &log)?;
        wait::until("the server to be ready", READY_WITHIN, || {
            children.check()?;
            Ok(is_ready(address).then_some(()))
        })
        .with_context(|| format!("see {}", log.display()))?;
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

fn configuration(
    vendor: Option<&Vendor>,
    place: &Place,
    address: SocketAddr,
    agent_address: SocketAddr,
) -> String {
    let data = place.folder.join("server");
    let mut lines = vec![
        format!("listen = {:?}", address.to_string()),
        format!("agent_listen = {:?}", agent_address.to_string()),
        format!("data_dir = {data:?}"),
        format!("modules_dir = {:?}", place.modules),
    ];
    if let Some(vendor) = vendor {
        lines.push(format!("trusted_keys = [{:?}]", vendor.public_key()));
        lines.push("allow_development_keys = true".to_owned());
        lines.push(format!("license_file = {:?}", vendor.license()));
    }
    lines.join("\n") + "\n"
}

/// A port nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
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
