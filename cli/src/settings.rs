//! Which server to talk to and as whom: arguments, then environment, then the file that `login` wrote.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::credentials::{self, Credentials};
use crate::failure::Failure;

#[derive(Args, Clone, Debug)]
pub struct ConnectionArgs {
    /// Address of the server, such as https://fleet.example.com
    #[arg(long, global = true, env = "FLEETWRIGHT_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// API token; as an argument others on this machine can see it in the list of processes: better --token-file, or
    /// the variable
    #[arg(long, global = true, env = "FLEETWRIGHT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file with the API token
    #[arg(
        long,
        global = true,
        env = "FLEETWRIGHT_TOKEN_FILE",
        value_name = "FILE"
    )]
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

    pub fn resolve(&self) -> Result<Connection, Failure> {
        let stored = credentials::read(&self.config_path()?)?.unwrap_or_default();
        let mut args = self.clone();
        if let (None, Some(path)) = (&args.token, &args.token_file) {
            args.token = Some(token_in(path)?);
        }
        decide(&args, stored).ok_or_else(|| {
            Failure::Settings(
                "no server given: use --server URL, FLEETWRIGHT_SERVER, or sign in with `fleetwright login`".to_owned(),
            )
        })
    }
}

fn token_in(path: &Path) -> Result<String, Failure> {
    let unusable = |why: String| {
        Failure::Settings(format!("cannot use the token in {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    match text.trim() {
        "" => Err(unusable("the file is empty".to_owned())),
        token => Ok(token.to_owned()),
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
    fn a_token_is_read_from_its_file_without_the_line_end() {
        let folder = std::env::temp_dir().join(format!("fleetwright-token-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("token");
        for (text, expected) in [("fwt_x\n", Some("fwt_x")), (" \n", None)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(token_in(&path).ok().as_deref(), expected);
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(token_in(&path).is_err());
    }

    #[test]
    fn without_any_server_there_is_no_connection() {
        assert_eq!(
            decide(&args(None, Some("mine")), Credentials::default()),
            None
        );
    }
}
