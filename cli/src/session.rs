//! What every command needs: the client, how to print, and whether to ask.

use crate::args::OutputFormat;
use crate::client::Client;
use crate::failure::Failure;
use crate::settings::ConnectionArgs;

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
