//! What every command needs: the client, how to print, and whether to ask.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::client::Client;
use crate::credentials::{self, Credentials};
use crate::failure::Failure;
use crate::settings::ConnectionArgs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Table,
    Json,
    Yaml,
}

pub struct Session {
    pub client: Client,
    pub format: OutputFormat,
    /// `--yes`: never ask.
    pub yes: bool,
}

impl Session {
    pub fn open(
        connection: &ConnectionArgs,
        format: OutputFormat,
        yes: bool,
    ) -> Result<Self, Failure> {
        let resolved = connection.resolve()?;
        let roots = resolved
            .ca
            .as_ref()
            .map(|path| std::fs::read(path).map_err(Failure::file(path.display().to_string())))
            .transpose()?;
        warn_of_plain_http(&resolved.server);
        let client = Client::new(&resolved.server, resolved.token, roots.as_deref())?;
        let client = if resolved.is_stored {
            let renewal = Renewal {
                path: connection.config_path()?,
                server: resolved.server,
                roots,
            };
            client.with_renewal(Box::new(move |refused| renewal.renew(refused)))
        } else {
            client
        };
        Ok(Self {
            client,
            format,
            yes,
        })
    }

    /// Whether tables and progress are wanted, or data for a machine.
    pub fn is_for_people(&self) -> bool {
        self.format == OutputFormat::Table
    }
}

/// Renews the session of the credentials file.
struct Renewal {
    path: PathBuf,
    server: String,
    roots: Option<Vec<u8>>,
}

impl Renewal {
    /// A refresh token works once, and a second use ends the session: so one process at a time exchanges it, and
    /// the others find what that one wrote.
    fn renew(&self, refused: &str) -> Option<String> {
        let _lock = credentials::lock(&self.path).ok()?;
        let stored = credentials::read(&self.path).ok()??;
        if stored.token.as_deref() != Some(refused) {
            return stored.token;
        }
        let client = Client::new(&self.server, None, self.roots.as_deref()).ok()?;
        let body = json!({ "refresh_token": stored.refresh_token.as_ref()? });
        let answer = client.post("/auth/refresh", &body).ok()?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let token = text("access_token")?;
        let fresh = Credentials {
            token: Some(token.clone()),
            refresh_token: text("refresh_token"),
            ..stored
        };
        credentials::write(&self.path, &fresh).ok()?;
        Some(token)
    }
}

/// A token over plain HTTP is readable on the way; on this machine it does not leave it.
pub fn warn_of_plain_http(server: &str) {
    let Some(rest) = server.strip_prefix("http://") else {
        return;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let local = ["localhost", "127.", "[::1]"]
        .iter()
        .any(|name| authority.starts_with(name));
    if !local {
        eprintln!("warning: {server} is not encrypted: tokens and scripts can be read on the way");
    }
}
