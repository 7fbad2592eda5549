//! Which server to talk to and as whom: arguments, then environment, then the file that `login` wrote.

use std::path::PathBuf;

use clap::Args;

use crate::credentials::{self, Credentials};
use crate::failure::Failure;

#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    /// Address of the server, such as https://fleet.example.com
    #[arg(long, global = true, env = "FLEETWRIGHT_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// API token. Everybody on this machine sees what stands on a command line: better `--token-file` or the variable
    #[arg(long, global = true, env = "FLEETWRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Read the API token from this file (first line; `-`: standard input)
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Trust these certificates (PEM) instead of the machine's
    #[arg(long, global = true, env = "FLEETWRIGHT_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Where `login` keeps server and token [default: ~/.config/fleetwright/config.toml]
    #[arg(long, global = true, env = "FLEETWRIGHT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The outcome: everything known about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub server: String,
    pub token: Option<String>,
    /// The token is from the file, with what renews it.
    pub is_stored: bool,
    pub ca: Option<PathBuf>,
}

impl ConnectionArgs {
    pub fn config_path(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => credentials::default_path(),
        }
    }

    /// The token that was given, in whatever way.
    pub fn given_token(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let text = if path.as_os_str() == "-" {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            read.map_err(Failure::file("standard input"))?;
            line
        } else {
            std::fs::read_to_string(path).map_err(Failure::file(path.display().to_string()))?
        };
        let token = text.lines().next().unwrap_or_default().trim();
        if token.is_empty() {
            let detail = format!("there is no token in {}", path.display());
            return Err(Failure::Settings(detail));
        }
        Ok(Some(token.to_owned()))
    }

    pub fn resolve(&self) -> Result<Connection, Failure> {
        let stored = credentials::read(&self.config_path()?)?.unwrap_or_default();
        let given = Self {
            token: self.given_token()?,
            ..self.clone()
        };
        decide(&given, stored).ok_or_else(|| {
            Failure::Settings(
                "no server given: use --server URL, FLEETWRIGHT_SERVER, or sign in with `fleetwright login`".to_owned(),
            )
        })
    }
}

/// A stored token is sent only to the server it was stored for.
fn decide(args: &ConnectionArgs, stored: Credentials) -> Option<Connection> {
    let server = args.server.clone().or_else(|| stored.server.clone())?;
    let same_server = stored
        .server
        .as_deref()
        .is_some_and(|known| known.trim_end_matches('/') == server.trim_end_matches('/'));
    let (token, is_stored) = match (&args.token, same_server) {
        (Some(token), _) => (Some(token.clone()), false),
        (None, true) => (stored.token, stored.refresh_token.is_some()),
        (None, false) => (None, false),
    };
    let ca = args
        .ca
        .clone()
        .or(if same_server { stored.ca } else { None });
    Some(Connection {
        server,
        token,
        is_stored,
        ca,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(server: Option<&str>, token: Option<&str>) -> ConnectionArgs {
        ConnectionArgs {
            server: server.map(str::to_owned),
            token: token.map(str::to_owned),
            token_file: None,
            ca: None,
            config: None,
        }
    }

    fn stored() -> Credentials {
        Credentials {
            server: Some("https://one.example/".into()),
            token: Some("kept".into()),
            refresh_token: Some("again".into()),
            ca: None,
        }
    }

    #[test]
    fn a_stored_token_never_goes_to_another_server() {
        let connection =
            decide(&args(Some("https://two.example"), None), stored()).expect("server");
        assert_eq!((connection.token, connection.is_stored), (None, false));
    }

    #[test]
    fn a_stored_token_goes_to_its_own_server() {
        let connection =
            decide(&args(Some("https://one.example"), None), stored()).expect("server");
        assert_eq!(connection.token.as_deref(), Some("kept"));
        assert!(connection.is_stored);
    }

    #[test]
    fn an_argument_wins_over_the_file() {
        let connection = decide(&args(None, Some("mine")), stored()).expect("server");
        assert_eq!(connection.token.as_deref(), Some("mine"));
        assert!(!connection.is_stored);
    }

    #[test]
    fn without_any_server_there_is_no_connection() {
        assert_eq!(
            decide(&args(None, Some("mine")), Credentials::default()),
            None
        );
    }
}
