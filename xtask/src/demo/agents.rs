//! The demo's agents: each in its own folder, each a different host. They may run scripts and write files in their
//! folder; everything that would touch this machine is replaced by a command that fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::operator::Operator;
use super::place::{Place, private_folder};
use super::server::Server;
use crate::cargo::Profile;
use crate::children::Children;
use crate::steps::say;

pub const FIRST_HOST: &str = "web-1.demo";

pub struct Host {
    pub fqdn: String,
    hostname: String,
    tag: &'static str,
    release: &'static str,
    version: &'static str,
    memory_mb: u32,
}

/// Kinds of hosts, taken in turn.
const KINDS: [(&str, &str, &str, u32); 3] = [
    ("web", "debian", "12.11", 4_096),
    ("web", "ubuntu", "24.04", 8_192),
    ("db", "rocky", "9.5", 32_768),
];

/// Enrols all of them, lets them in, starts them. Pending hosts are turned away and try again ever later, so they are
/// approved before they first connect.
pub fn start(
    count: usize,
    place: &Place,
    server: &Server,
    operator: &Operator,
    children: &mut Children,
) -> Result<Vec<Host>> {
    let token = enrollment_token(count, operator)?;
    let hosts = hosts(count);
    for host in &hosts {
        let folder = folder(place, host);
        private_folder(&folder.join("data"))?;
        let config = folder.join("agent.toml");
        std::fs::write(&config, configuration(host, &folder, server))?;
        enroll(&config, server, &token).with_context(|| host.fqdn.clone())?;
    }
    say(&format!(
        "{count} agents, each in a folder of {}",
        place.folder.join("agents").display()
    ));
    operator.show(&["hosts", "approve", "--pending", "--yes"])?;
    for host in &hosts {
        let folder = folder(place, host);
        let mut command = agent(&folder.join("agent.toml"));
        command.arg("run");
        children.spawn(&host.fqdn, command, &folder.join("agent.log"))?;
    }
    Ok(hosts)
}

pub fn tag(hosts: &[Host], operator: &Operator) -> Result<()> {
    for tag in ["web", "db"] {
        let tagged: Vec<&str> = hosts
            .iter()
            .filter(|host| host.tag == tag)
            .map(|host| host.fqdn.as_str())
            .collect();
        if !tagged.is_empty() {
            let words: Vec<&str> = ["hosts", "tag"]
                .into_iter()
                .chain(tagged)
                .chain(["--add", tag])
                .collect();
            operator.show(&words)?;
        }
    }
    operator.show(&["hosts", "list"])
}

fn folder(place: &Place, host: &Host) -> PathBuf {
    place.folder.join("agents").join(&host.hostname)
}

fn hosts(count: usize) -> Vec<Host> {
    let mut seen = std::collections::BTreeMap::new();
    KINDS
        .iter()
        .cycle()
        .take(count)
        .map(|&(tag, release, version, memory_mb)| {
            let number = seen
                .entry(tag)
                .and_modify(|number| *number += 1)
                .or_insert(1);
            let hostname = format!("{tag}-{number}");
            Host {
                fqdn: format!("{hostname}.demo"),
                hostname,
                tag,
                release,
                version,
                memory_mb,
            }
        })
        .collect()
}

fn enrollment_token(count: usize, operator: &Operator) -> Result<String> {
    let token = operator.quietly(&[
        "enrollment-tokens",
        "create",
        "--uses",
        &count.to_string(),
        "--quiet",
    ])?;
    let token = token.trim().to_owned();
    ensure!(!token.is_empty(), "no enrollment token");
    Ok(token)
}

fn enroll(config: &Path, server: &Server, token: &str) -> Result<()> {
    let mut command = agent(config);
    command.args(["enroll", "--server", &server.agent_url]);
    // Not as an argument, which others on this machine would see.
    command.env("FLEETWRIGHT_AGENT_TOKEN", token);
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "enrollment failed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn agent(config: &Path) -> Command {
    let binary: PathBuf = Profile::Dev.folder().join("fleetwright-agent");
    let mut command = Command::new(binary);
    command.arg("--config").arg(config);
    command
}

fn configuration(host: &Host, folder: &Path, server: &Server) -> String {
    let files = folder.join("files");
    format!(
        "server_url = {url:?}\n\
         data_dir = {data:?}\n\
         heartbeat_seconds = 2\n\
         \n\
         [facts]\n\
         fqdn = {fqdn:?}\n\
         hostname = {hostname:?}\n\
         platform = \"linux\"\n\
         platform_release = {release:?}\n\
         platform_version = {version:?}\n\
         memory_total_mb = {memory}\n\
         \n\
         [policy]\n\
         allow_operations = [\"run_script\", \"deploy_file\", \"apply_deployment_plan\"]\n\
         allow_paths = [{files:?}]\n\
         \n\
         [system]\n\
         reboot_command = [\"/bin/false\"]\n\
         shutdown_command = [\"/bin/false\"]\n\
         package_manager = [\"/bin/false\"]\n\
         service_manager = \"none\"\n",
        url = server.agent_url,
        data = folder.join("data"),
        fqdn = host.fqdn,
        hostname = host.hostname,
        release = host.release,
        version = host.version,
        memory = host.memory_mb,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_distinct_names_and_the_first_is_known() {
        let names: Vec<String> = hosts(7).into_iter().map(|host| host.fqdn).collect();
        assert_eq!(names[0], FIRST_HOST);
        assert_eq!(
            names
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            7
        );
    }
}
