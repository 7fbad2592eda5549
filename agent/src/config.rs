//! The agent's settings: a TOML file, overridden by the environment. An unknown key is an error, because a misspelt
//! policy must not be a policy that allows everything.

mod service_setting;
mod vms;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetwright_protocol::OperationType;
use fleetwright_protocol::limits::{HEARTBEAT_SECONDS_DEFAULT, PEER_SILENT_SECONDS_MAX};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use service_setting::ServiceManagerSetting;
pub use vms::{VmsSettings, VmsSource};

use crate::backoff::CAP_SECONDS_DEFAULT;

/// Where the settings are unless said otherwise.
pub const CONFIG_DEFAULT: &str = "/etc/fleetwright/agent.toml";

/// Variables with this prefix override the file; `__` stands between levels.
const PREFIX: &str = "FLEETWRIGHT_AGENT_";
/// Variables with the prefix that are not settings: they are read as command line arguments.
const NOT_SETTINGS: [&str; 2] = ["CONFIG", "TOKEN"];
/// Side by side on one host; above this a host is a job queue, which is another product.
const CONCURRENCY_MAX: u32 = 64;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where these settings were read, if from a file; it need not be there.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// `https://host:port` of the server's agent port. Enrollment remembers it.
    pub server_url: Option<String>,
    /// The certificate authority that signs the server's certificate, before enrollment has brought it.
    pub ca_file: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub heartbeat_seconds: Option<u64>,
    /// A server that has said nothing for this long is taken for gone; it is pinged three times meanwhile.
    pub server_silent_seconds: u64,
    /// The longest wait between two attempts to connect.
    pub reconnect_seconds_max: u64,
    pub concurrency: u32,
    pub tags: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    pub policy: PolicySettings,
    pub log: LogSettings,
    pub system: SystemSettings,
    pub facts: FactSettings,
    pub vms: VmsSettings,
}

/// What this host lets the server do. An empty list of allowed things allows all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    pub allow_operations: Vec<OperationType>,
    /// Folders (or files) nothing may be deployed in; they win over `allow_paths`.
    pub deny_paths: Vec<String>,
    pub allow_paths: Vec<String>,
    /// Accounts that operations may run as, the agent's own included.
    pub allow_users: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What touches the machine, so that tests and demonstrations can point it elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemSettings {
    pub reboot_command: Option<Vec<String>>,
    pub shutdown_command: Option<Vec<String>>,
    pub boot_id_file: Option<PathBuf>,
    pub machine_id_file: Option<PathBuf>,
    pub package_manager: Option<Vec<String>>,
    pub service_manager: Option<ServiceManagerSetting>,
    /// A cgroup (v2) folder that runs get their own cgroups in; `none` turns cgroups off. Default: the agent's own
    /// cgroup, if it is not the root and may be written.
    pub cgroup: Option<String>,
    /// Where libvirt notes the machines that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub libvirt_dir: Option<PathBuf>,
}

impl SystemSettings {
    /// Where the kernel, or whoever stands for it, names this boot.
    pub fn boot_id_file(&self) -> &Path {
        let file = self.boot_id_file.as_deref();
        file.unwrap_or(Path::new("/proc/sys/kernel/random/boot_id"))
    }

    /// Where libvirt, if it is here, notes the virtual machines that run.
    pub fn libvirt_dir(&self) -> &Path {
        let folder = self.libvirt_dir.as_deref();
        folder.unwrap_or(Path::new("/run/libvirt/qemu"))
    }

    /// Where the machine names itself.
    pub fn machine_id_file(&self) -> &Path {
        let file = self.machine_id_file.as_deref();
        file.unwrap_or(Path::new("/etc/machine-id"))
    }
}

/// Facts said instead of those found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FactSettings {
    pub fqdn: Option<String>,
    pub hostname: Option<String>,
    pub platform: Option<String>,
    pub platform_release: Option<String>,
    pub platform_version: Option<String>,
    pub architecture: Option<String>,
    pub ipv4: Option<Vec<String>>,
    pub ipv6: Option<Vec<String>>,
    pub cpu_count: Option<u32>,
    pub memory_total_mb: Option<u64>,
    pub memory_available_mb: Option<u64>,
    pub cpu_load_pct: Option<f32>,
    pub kvm_available: Option<bool>,
    pub vm_count: Option<u32>,
    pub vms: Option<Vec<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {error}")]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{path} is not TOML: {error}")]
    NotToml {
        path: PathBuf,
        error: Box<toml::de::Error>,
    },
    #[error("the settings are wrong: {0}")]
    Wrong(Box<toml::de::Error>),
    #[error("the variable {variable} does not fit: {why}")]
    Variable { variable: String, why: &'static str },
    #[error("{key} {why}")]
    OutOfRange { key: &'static str, why: String },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            server_url: None,
            ca_file: None,
            data_dir: PathBuf::from("/var/lib/fleetwright-agent"),
            heartbeat_seconds: None,
            server_silent_seconds: PEER_SILENT_SECONDS_MAX,
            reconnect_seconds_max: CAP_SECONDS_DEFAULT,
            concurrency: 1,
            tags: Vec::new(),
            attributes: BTreeMap::new(),
            policy: PolicySettings::default(),
            log: LogSettings::default(),
            system: SystemSettings::default(),
            facts: FactSettings::default(),
            vms: VmsSettings::default(),
        }
    }
}

impl Config {
    /// Reads the file and the variables. A missing file is an error only if `required`.
    pub fn load(
        path: &Path,
        required: bool,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                String::new()
            }
            Err(error) => {
                return Err(ConfigError::Unreadable {
                    path: path.to_owned(),
                    error,
                });
            }
        };
        let table: Table = toml::from_str(&text).map_err(|error| ConfigError::NotToml {
            path: path.to_owned(),
            error: Box::new(error),
        })?;
        Ok(Self {
            file: Some(path.to_owned()),
            ..Self::from_parts(table, variables)?
        })
    }

    /// From a parsed file and the environment.
    pub fn from_parts(
        mut table: Table,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        for (variable, text) in variables {
            let Some(key) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if NOT_SETTINGS.contains(&key) {
                continue;
            }
            let keys: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
            set(&mut table, &keys, value_of(&keys, &text)).map_err(|why| {
                ConfigError::Variable {
                    variable: variable.clone(),
                    why,
                }
            })?;
        }
        let config: Self = Value::Table(table)
            .try_into()
            .map_err(|error| ConfigError::Wrong(Box::new(error)))?;
        config.checked()
    }

    /// Seconds between heartbeats unless the server says otherwise.
    pub fn heartbeat_seconds_or_default(&self) -> u64 {
        self.heartbeat_seconds.unwrap_or(HEARTBEAT_SECONDS_DEFAULT)
    }

    pub fn boot_id_file(&self) -> &Path {
        self.system.boot_id_file()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let wrong = |key, why: String| Err(ConfigError::OutOfRange { key, why });
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return wrong(
                "concurrency",
                format!("must be between 1 and {CONCURRENCY_MAX}"),
            );
        }
        if self
            .heartbeat_seconds
            .is_some_and(|seconds| !(1..=300).contains(&seconds))
        {
            return wrong("heartbeat_seconds", "must be between 1 and 300".to_owned());
        }
        if !(2..=PEER_SILENT_SECONDS_MAX).contains(&self.server_silent_seconds) {
            return wrong(
                "server_silent_seconds",
                format!("must be between 2 and {PEER_SILENT_SECONDS_MAX}"),
            );
        }
        if !(1..=3_600).contains(&self.reconnect_seconds_max) {
            return wrong(
                "reconnect_seconds_max",
                "must be between 1 and 3600".to_owned(),
            );
        }
        if !self.data_dir.is_absolute() {
            return wrong("data_dir", "must be an absolute path".to_owned());
        }
        for path in self
            .policy
            .deny_paths
            .iter()
            .chain(&self.policy.allow_paths)
        {
            if !fleetwright_protocol::validate::absolute_path(path) {
                return wrong(
                    "policy",
                    format!("holds `{path}`, which is not an absolute path without `..`"),
                );
            }
        }
        for command in [
            &self.system.reboot_command,
            &self.system.shutdown_command,
            &self.system.package_manager,
        ] {
            if command.as_ref().is_some_and(Vec::is_empty) {
                return wrong("system", "holds an empty command".to_owned());
            }
        }
        match self.vms.check() {
            Ok(()) => Ok(self),
            Err(why) => wrong("vms", why),
        }
    }
}

/// Keys that hold lists: their variables may be written as plain words with commas.
fn is_list(keys: &[String]) -> bool {
    matches!(
        keys.last().map(String::as_str),
        Some(
            "tags"
                | "allow_operations"
                | "deny_paths"
                | "allow_paths"
                | "allow_users"
                | "ipv4"
                | "ipv6"
                | "vms"
                | "reboot_command"
                | "shutdown_command"
                | "package_manager"
                | "command"
        )
    )
}

/// Numbers, truth values, and whatever begins like a TOML list, table or quoted text are TOML; the rest is text.
fn value_of(keys: &[String], text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"));
    let takes_text = matches!(
        keys.first().map(String::as_str),
        Some("attributes" | "server_url")
    ) || matches!(
        keys.last().map(String::as_str),
        Some(
            "fqdn"
                | "hostname"
                | "platform"
                | "platform_release"
                | "platform_version"
                | "architecture"
        )
    );
    match parsed {
        Some(value @ (Value::Array(_) | Value::Table(_) | Value::String(_))) => value,
        Some(value @ (Value::Integer(_) | Value::Float(_) | Value::Boolean(_))) if !takes_text => {
            value
        }
        Some(_) | None if is_list(keys) => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(|word| Value::String(word.to_owned()))
                .collect(),
        ),
        Some(_) | None => Value::String(text.to_owned()),
    }
}

fn set(table: &mut Table, keys: &[String], value: Value) -> Result<(), &'static str> {
    match keys {
        [] => Err("names no setting"),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => match table
            .entry(first)
            .or_insert_with(|| Value::Table(Table::new()))
        {
            Value::Table(inner) => set(inner, rest, value),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => Err("a level above it is not a table"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(toml::from_str(text).unwrap(), variables)
    }

    #[test]
    fn the_shipped_settings_show_the_defaults_and_are_read() {
        let shipped = include_str!("../../dist/config/agent.toml");
        let quiet = Config::from_parts(toml::from_str(shipped).unwrap(), std::iter::empty());
        assert_eq!(
            format!("{:?}", quiet.unwrap()),
            format!("{:?}", Config::default())
        );
        let on: String = shipped
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let loud = Config::from_parts(toml::from_str(&on).unwrap(), std::iter::empty()).unwrap();
        assert_eq!((loud.tags, loud.concurrency), (vec!["web".to_owned()], 1));
        assert_eq!(loud.policy.deny_paths, ["/etc/ssh"]);
        let vms = loud.vms;
        assert!(vms.pid_dir.is_some() && vms.command.is_some());
    }

    #[test]
    fn the_environment_overrides_the_file_at_any_level() {
        let config = load(
            "concurrency = 2\ntags = ['a']\n[policy]\nallow_users = ['root']",
            &[
                ("FLEETWRIGHT_AGENT_CONCURRENCY", "3"),
                ("FLEETWRIGHT_AGENT_SERVER_URL", "https://127.0.0.1:9443"),
                ("FLEETWRIGHT_AGENT_TAGS", "web, db"),
                (
                    "FLEETWRIGHT_AGENT_POLICY__ALLOW_OPERATIONS",
                    "[\"run_script\"]",
                ),
                ("FLEETWRIGHT_AGENT_FACTS__PLATFORM_VERSION", "12"),
                ("FLEETWRIGHT_AGENT_FACTS__MEMORY_AVAILABLE_MB", "512"),
                ("FLEETWRIGHT_AGENT_ATTRIBUTES__RACK", "7"),
                ("FLEETWRIGHT_AGENT_VMS__SOURCE", "command"),
                ("FLEETWRIGHT_AGENT_VMS__COMMAND", "list-vms,--json"),
                ("FLEETWRIGHT_AGENT_CONFIG", "/nowhere"),
                ("HOME", "/root"),
            ],
        )
        .unwrap();
        assert_eq!(config.concurrency, 3);
        assert_eq!(config.server_url.as_deref(), Some("https://127.0.0.1:9443"));
        assert_eq!(config.tags, ["web", "db"]);
        assert_eq!(config.policy.allow_operations, [OperationType::RunScript]);
        assert_eq!(config.policy.allow_users, ["root"]);
        assert_eq!(config.facts.platform_version.as_deref(), Some("12"));
        assert_eq!(config.facts.memory_available_mb, Some(512));
        assert_eq!(config.attributes["rack"], "7");
        assert_eq!(config.vms.source, VmsSource::Command);
        let command = config.vms.command.unwrap_or_default();
        assert_eq!(command, ["list-vms", "--json"]);
    }

    #[test]
    fn unknown_and_impossible_settings_are_errors() {
        for text in [
            "sever_url = 'x'",
            "[policy]\nallow_path = []",
            "[facts]\nfqnd = 'x'",
            "concurrency = 0",
            "concurrency = 65",
            "heartbeat_seconds = 0",
            "data_dir = 'relative'",
            "[policy]\ndeny_paths = ['etc']",
            "[policy]\nallow_operations = ['format_disk']",
            "[system]\nreboot_command = []",
            "[vms]\nsource = 'vmware'",
            "[vms]\nsource = 'pid_dir'",
            "[vms]\nsource = 'command'",
            "[vms]\nsource = 'command'\ncommand = []",
            "[vms]\nsource = 'command'\ncommand = ['']",
            "[vms]\npid_dir = 'run'",
            "[vms]\nfolder = '/run'",
        ] {
            assert!(load(text, &[]).is_err(), "{text}");
        }
        assert!(load("", &[("FLEETWRIGHT_AGENT_TYPO", "1")]).is_err());
        assert!(
            load(
                "concurrency = 1",
                &[("FLEETWRIGHT_AGENT_CONCURRENCY__X", "1")]
            )
            .is_err()
        );
    }
}
