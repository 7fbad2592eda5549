//! The server's settings: a TOML file, overridden by `FLEETWRIGHT_*` variables (`__` between levels). An unknown
//! key in either is an error, so that a typo is not ignored.

mod environment;
mod load;
mod network;
mod placement;

pub use network::{Network, NetworkError, first_of};
pub use placement::{Placement, Strategy};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use fleetwright_protocol::limits::PEER_SILENT_SECONDS_MAX;
use serde::{Deserialize, Serialize};

/// A day: a stolen certificate is worth little, and an agent that is away for a weekend renews when it is back.
const AGENT_CERTIFICATE_SECONDS_DEFAULT: u64 = 24 * 3600;
/// Shorter, and an agent would do little but renew; longer, and a stolen one would be worth having.
const AGENT_CERTIFICATE_SECONDS: std::ops::RangeInclusive<u64> = 10..=30 * 24 * 3600;
/// Nobody asks for it by hand, so it may be too long to be guessed.
const METRICS_TOKEN_BYTES_MIN: usize = 16;
/// Where the file is unless `--config` says otherwise.
pub const FILE_DEFAULT: &str = "/etc/fleetwright/server.toml";

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Operators: API and page.
    pub listen: SocketAddr,
    /// Agents: mutual TLS.
    pub agent_listen: SocketAddr,
    /// Names and addresses by which agents reach the agent port: the SANs of its certificate.
    pub agent_names: Vec<String>,
    /// Proxies whose word counts for where a request of an operator comes from.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they say it. The other one they pass on as it came from whoever asked.
    pub forwarded_header: ForwardedHeader,
    /// Where `/metrics` is, instead of on the operators' port.
    pub metrics_listen: Option<SocketAddr>,
    /// What whoever asks for `/metrics` must show as a bearer token.
    pub metrics_token: Option<Secret>,
    /// How long an agent's certificate is good for; agents renew at two thirds of it.
    pub agent_certificate_seconds: u64,
    /// `sqlite://…` or `postgres://…`; see [`Config::database_url`] for the default.
    pub database_url: Option<Secret>,
    /// CA, keys, blobs, database.
    pub data_dir: PathBuf,
    pub modules_dir: PathBuf,
    /// Vendor public keys: files or inline text.
    pub trusted_keys: Vec<String>,
    pub allow_development_keys: bool,
    pub license_file: Option<PathBuf>,
    /// First start only; generated when absent, and kept in a file of the data folder until it is used.
    pub admin_password: Option<Secret>,
    pub tls: Tls,
    pub log: Log,
    pub retention: Retention,
    pub limits: Limits,
    pub host_names: HostNames,
    /// Whether what matters more may take the place of what matters less; also `FLEET_PREEMPTION`.
    pub preemption: bool,
    /// Whether tenants' budgets are kept; also `FLEET_BUDGETS`.
    pub budgets: bool,
    pub placement: Placement,
}

/// What an approved host is called when its agent begins to call it something else.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostNames {
    /// What it was called when it was approved, until a person accepts the new name.
    #[default]
    Pinned,
    /// What its agent says.
    Live,
}

/// Which header trusted proxies write.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// What nearly all write.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// HTTPS for operators; both or neither.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or directives such as `info,fleetwright_server=debug`.
    pub level: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How long finished things are kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    pub audit_days: u32,
    /// Commands with their outputs and sets.
    pub commands_days: u32,
    /// Uploaded content, after it was last uploaded or seen referred to.
    pub blobs_days: u32,
}

/// What one principal may ask of the server.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a second per principal, with as much again at once; 0 turns the limit off.
    pub requests_per_second: u32,
    /// Failed log-ins a minute per name and address; `auth/attempts` has what follows from it.
    pub failed_logins_per_minute: u32,
    /// An agent that has not been heard of for this long is disconnected. Longer than two of its heartbeats.
    pub agent_silent_seconds: u64,
    /// Uploaded content altogether.
    pub blobs_mebibytes: u64,
}

/// Content is uploaded for what is run next; a pipeline that runs weekly finds it again.
const BLOBS_DAYS_DEFAULT: u32 = 8;
/// Hundreds of the largest: what a small machine's disk has to spare.
const BLOBS_MEBIBYTES_DEFAULT: u64 = 10 * 1024;

/// Text that is never shown.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {message}")]
    File { path: PathBuf, message: String },
    #[error("{variable}: {message}")]
    Environment { variable: String, message: String },
    #[error("{0}")]
    Value(String),
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            listen: loopback(8080),
            agent_listen: loopback(8443),
            agent_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            metrics_listen: None,
            metrics_token: None,
            agent_certificate_seconds: AGENT_CERTIFICATE_SECONDS_DEFAULT,
            database_url: None,
            data_dir: PathBuf::from("/var/lib/fleetwright"),
            modules_dir: PathBuf::from("/usr/lib/fleetwright/modules"),
            trusted_keys: Vec::new(),
            allow_development_keys: false,
            license_file: None,
            admin_password: None,
            tls: Tls::default(),
            log: Log::default(),
            retention: Retention::default(),
            limits: Limits::default(),
            host_names: HostNames::default(),
            preemption: false,
            budgets: false,
            placement: Placement::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            audit_days: 90,
            commands_days: 90,
            blobs_days: BLOBS_DAYS_DEFAULT,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Far above any pipeline, below what starves everybody else on two cores.
            requests_per_second: 2_000,
            // A person mistypes a few times; a guesser needs millions.
            failed_logins_per_minute: 10,
            agent_silent_seconds: PEER_SILENT_SECONDS_MAX,
            blobs_mebibytes: BLOBS_MEBIBYTES_DEFAULT,
        }
    }
}

impl Config {
    pub fn database_url(&self) -> String {
        match &self.database_url {
            Some(url) => url.expose().to_owned(),
            None => format!(
                "sqlite://{}",
                self.data_dir.join("fleetwright.db").display()
            ),
        }
    }

    /// The effective settings for people, with secrets hidden.
    pub fn shown(&self) -> String {
        let quoted = |text: &dyn std::fmt::Display| toml::Value::String(text.to_string());
        let paths = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.display()));
        let mut table = toml::Table::new();
        let mut put = |key: &str, value: Option<toml::Value>| {
            if let Some(value) = value {
                table.insert(key.to_owned(), value);
            }
        };
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>();
        put("listen", Some(quoted(&self.listen)));
        put("agent_listen", Some(quoted(&self.agent_listen)));
        put("agent_names", Some(list(&self.agent_names).into()));
        let proxies = toml::Value::try_from(&self.trusted_proxies);
        put("trusted_proxies", proxies.ok());
        let header = toml::Value::try_from(self.forwarded_header);
        put("forwarded_header", header.ok());
        let own = self.metrics_listen.as_ref();
        put("metrics_listen", own.map(|address| quoted(address)));
        let hidden = self.metrics_token.as_ref();
        put("metrics_token", hidden.map(|hidden| quoted(hidden)));
        put(
            "agent_certificate_seconds",
            i64::try_from(self.agent_certificate_seconds)
                .ok()
                .map(toml::Value::from),
        );
        put(
            "database_url",
            Some(quoted(&without_password(&self.database_url()))),
        );
        put("data_dir", Some(quoted(&self.data_dir.display())));
        put("modules_dir", Some(quoted(&self.modules_dir.display())));
        put("trusted_keys", Some(list(&self.trusted_keys).into()));
        put(
            "allow_development_keys",
            Some(self.allow_development_keys.into()),
        );
        put("license_file", paths(&self.license_file));
        put(
            "admin_password",
            self.admin_password.as_ref().map(|hidden| quoted(hidden)),
        );
        put("tls", toml::Value::try_from(&self.tls).ok());
        put("log", toml::Value::try_from(&self.log).ok());
        put("retention", toml::Value::try_from(&self.retention).ok());
        put("limits", toml::Value::try_from(&self.limits).ok());
        put("host_names", toml::Value::try_from(self.host_names).ok());
        put("preemption", Some(self.preemption.into()));
        put("budgets", Some(self.budgets.into()));
        put("placement", toml::Value::try_from(&self.placement).ok());
        table.to_string()
    }

    /// What modules are told of the settings.
    pub fn for_modules(&self) -> std::collections::BTreeMap<String, serde_json::Value> {
        let placement = serde_json::to_value(&self.placement).unwrap_or_default();
        [
            ("preemption", self.preemption.into()),
            ("budgets", self.budgets.into()),
            ("placement", placement),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: &str| Err(ConfigError::Value(text.to_owned()));
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return refuse("tls.cert and tls.key belong together: set both or neither");
        }
        if [
            self.retention.audit_days,
            self.retention.commands_days,
            self.retention.blobs_days,
        ]
        .contains(&0)
        {
            return refuse("retention is at least one day");
        }
        if !(2..=PEER_SILENT_SECONDS_MAX).contains(&self.limits.agent_silent_seconds) {
            return Err(ConfigError::Value(format!(
                "limits.agent_silent_seconds must be between 2 and {PEER_SILENT_SECONDS_MAX}"
            )));
        }
        if self.agent_names.is_empty() {
            return refuse("agent_names must hold at least one name or address");
        }
        if !AGENT_CERTIFICATE_SECONDS.contains(&self.agent_certificate_seconds) {
            return refuse("agent_certificate_seconds is between 10 and 2592000 (30 days)");
        }
        let is_short = |token: &Secret| token.expose().len() < METRICS_TOKEN_BYTES_MIN;
        if self.metrics_token.as_ref().is_some_and(is_short) {
            return Err(ConfigError::Value(format!(
                "metrics_token must have at least {METRICS_TOKEN_BYTES_MIN} characters"
            )));
        }
        // A header could not carry it, and a space at its ends would be lost.
        let can_be_shown =
            |token: &Secret| token.expose().bytes().all(|byte| byte.is_ascii_graphic());
        if !self.metrics_token.as_ref().is_none_or(can_be_shown) {
            return refuse("metrics_token must be printable ASCII without spaces");
        }
        if self.data_dir.as_os_str().is_empty() {
            return refuse("data_dir must not be empty");
        }
        self.placement.check().map_err(ConfigError::Value)
    }
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(***)")
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

/// `postgres://user:secret@host` without the secret, in the authority and as a query parameter.
fn without_password(url: &str) -> String {
    let (base, query) = match url.split_once('?') {
        Some((base, query)) => (base, Some(query)),
        None => (url, None),
    };
    let base = match (base.split_once("://"), base.rsplit_once('@')) {
        (Some((scheme, _)), Some((left, host))) => {
            let user = left
                .get(scheme.len() + 3..)
                .and_then(|credentials| credentials.split(':').next())
                .unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        (_, _) => base.to_owned(),
    };
    let query = query.map(|query| {
        let hide = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if name.eq_ignore_ascii_case("password") => format!("{name}=***"),
            Some(_) | None => pair.to_owned(),
        };
        query.split('&').map(hide).collect::<Vec<_>>().join("&")
    });
    match query {
        Some(query) => format!("{base}?{query}"),
        None => base,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_parts(Path::new("server.toml"), text, variables)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_shipped_settings_show_the_defaults_and_are_read() {
        let shipped = include_str!("../../dist/config/server.toml");
        let path = Path::new("server.toml");
        let quiet = Config::from_parts(path, shipped, std::iter::empty()).unwrap();
        assert_eq!(quiet, Config::default());
        // With every line switched on (a second one of a key is an example) it is still a file of settings.
        let mut keys = std::collections::BTreeSet::new();
        let on: String = shipped
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.starts_with('[') || line.contains(" = "))
            .filter(|line| keys.insert(line.split(" = ").next().unwrap_or_default()))
            .map(|line| format!("{line}\n"))
            .collect();
        let loud = Config::from_parts(path, &on, std::iter::empty()).unwrap();
        let default = Config::default();
        assert_eq!(
            (loud.listen, loud.agent_listen, &loud.agent_names),
            (default.listen, default.agent_listen, &default.agent_names)
        );
        assert_eq!(loud.database_url(), default.database_url());
        assert_eq!((loud.log, loud.retention), (default.log, default.retention));
    }

    #[test]
    fn the_environment_overrides_the_file_at_every_level() {
        let text = "listen = \"127.0.0.1:1\"\n[log]\nlevel = \"debug\"";
        let config = load(
            text,
            &[
                ("FLEETWRIGHT_LISTEN", "127.0.0.1:0"),
                ("FLEETWRIGHT_LOG__FORMAT", "json"),
                ("FLEETWRIGHT_RETENTION__AUDIT_DAYS", "7"),
                ("FLEETWRIGHT_ALLOW_DEVELOPMENT_KEYS", "true"),
                ("FLEETWRIGHT_AGENT_NAMES", "a.example, 10.0.0.1"),
                ("FLEETWRIGHT_ADMIN_PASSWORD", "12345"),
                ("FLEETWRIGHT_TRUSTED_PROXIES", "10.0.0.0/8,::1"),
                ("FLEETWRIGHT_METRICS_LISTEN", "127.0.0.1:9100"),
                ("FLEETWRIGHT_METRICS_TOKEN", "1234567890123456"),
                // The command line's, which may be set in the same shell.
                ("FLEETWRIGHT_SERVER", "https://fleet.example"),
                ("FLEETWRIGHT_TOKEN", "fwt_x"),
                ("PATH", "/bin"),
            ],
        )
        .expect("valid");
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.retention.audit_days, 7);
        assert!(config.allow_development_keys);
        assert_eq!(config.agent_names, ["a.example", "10.0.0.1"]);
        assert_eq!(config.trusted_proxies.len(), 2);
        assert!(config.metrics_listen.is_some() && config.metrics_token.is_some());
        let password = config.admin_password.expect("set");
        assert_eq!(password.expose(), "12345", "a number stays text");
    }

    #[test]
    fn a_typo_is_an_error_wherever_it_is() {
        assert!(
            load("lsten = \"x\"", &[])
                .expect_err("file")
                .contains("lsten")
        );
        assert!(load("[log]\nlevle = \"x\"", &[]).is_err());
        let variable = load("", &[("FLEETWRIGHT_LSTEN", "x")]).expect_err("variable");
        assert!(variable.contains("FLEETWRIGHT_LSTEN"), "{variable}");
        assert!(load("", &[("FLEETWRIGHT_LOG__LEVLE", "x")]).is_err());
        assert!(load("", &[("FLEETWRIGHT_LISTEN", "nowhere")]).is_err());
        assert!(load("[tls]\ncert = \"x\"", &[]).is_err(), "half of a pair");
        assert!(load("trusted_proxies = [\"10.0.0.0/33\"]", &[]).is_err());
        assert!(load("metrics_token = \"short\"", &[]).is_err());
        for token in [
            "sixteen and a space",
            "sechzehn-oder-mehr-ü",
            "sixteen-or-more\\n",
        ] {
            let text = format!("metrics_token = \"{token}\"");
            let refused = load(&text, &[]).expect_err(token);
            assert!(refused.contains("printable"), "{refused}");
        }
        assert!(load("forwarded_header = \"via\"", &[]).is_err());
        let config = load("forwarded_header = \"forwarded\"", &[]).expect("valid");
        assert_eq!(config.forwarded_header, ForwardedHeader::Forwarded);
        assert!(config.shown().contains("forwarded_header = \"forwarded\""));
    }

    #[test]
    fn shown_settings_hold_no_secret() {
        let text = "admin_password = \"hunter2\"\nmetrics_token = \"hunter2-for-metrics\"\ndatabase_url = \
                    \"postgres://me:hunter2@db/x?password=hunter2&sslmode=require\"";
        let config = load(text, &[]).expect("valid");
        let shown = config.shown();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("sslmode=require"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_database_is_in_the_data_folder_unless_said_otherwise() {
        let config = load("data_dir = \"/d\"", &[]).expect("valid");
        assert_eq!(config.database_url(), "sqlite:///d/fleetwright.db");
    }
}
