//! `fleetwright login`: exchanges a password for a token and remembers it.

use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::client::Client;
use crate::credentials::{self, Credentials};
use crate::failure::{Completion, Failure};
use crate::session::warn_of_plain_http;
use crate::settings::ConnectionArgs;
use crate::{output, prompt};

#[derive(Args)]
pub struct LoginArgs {
    /// User name
    #[arg(long, short)]
    user: Option<String>,
    /// Read the password from standard input (first line)
    #[arg(long)]
    password_stdin: bool,
}

pub fn login(connection: &ConnectionArgs, args: &LoginArgs) -> Result<Completion, Failure> {
    let path = connection.config_path()?;
    let known = credentials::read(&path)?.unwrap_or_default();
    let server = match connection.server.clone().or(known.server) {
        Some(server) => server.trim_end_matches('/').to_owned(),
        None => prompt::text("Server")?,
    };
    warn_of_plain_http(&server);
    let roots = connection
        .ca
        .as_ref()
        .map(|ca| std::fs::read(ca).map_err(Failure::file(ca.display().to_string())));
    let roots = roots.transpose()?;
    let credentials = match connection.given_token()? {
        Some(token) => Credentials {
            token: Some(token),
            ..Credentials::default()
        },
        None => with_password(&Client::new(&server, None, roots.as_deref())?, args)?,
    };
    let client = Client::new(&server, credentials.token.clone(), roots.as_deref())?;
    let me = client.get("/auth/me")?;
    remember(
        &path,
        Credentials {
            server: Some(server.clone()),
            ca: connection.ca.clone(),
            ..credentials
        },
    )?;
    output::line(&format!(
        "signed in to {server} as {} ({})",
        output::field(&me, "name"),
        output::field(&me, "role")
    ))?;
    Ok(Completion::Done)
}

pub fn logout(connection: &ConnectionArgs) -> Result<Completion, Failure> {
    let path = connection.config_path()?;
    let known = credentials::read(&path)?.unwrap_or_default();
    if let (Some(server), Some(token), Some(_session)) =
        (&known.server, &known.token, &known.refresh_token)
    {
        let roots = known.ca.as_ref().and_then(|ca| std::fs::read(ca).ok());
        let client = Client::new(server, Some(token.clone()), roots.as_deref())?;
        // Forgetting works without the server; then its session ends by itself.
        let _ = client.post("/auth/logout", &json!({}));
    }
    remember(
        &path,
        Credentials {
            server: known.server,
            ca: known.ca,
            ..Credentials::default()
        },
    )?;
    output::line("signed out")?;
    Ok(Completion::Done)
}

fn with_password(client: &Client, args: &LoginArgs) -> Result<Credentials, Failure> {
    let user = match &args.user {
        Some(user) => user.clone(),
        None => prompt::text("User")?,
    };
    let password = if args.password_stdin {
        first_line()?
    } else {
        prompt::password("Password")?
    };
    let answer = client.post(
        "/auth/login",
        &json!({ "username": user, "password": password }),
    )?;
    let field = |name: &str| {
        answer
            .get(name)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
    };
    match field("access_token") {
        Some(token) => Ok(Credentials {
            token: Some(token),
            refresh_token: field("refresh_token"),
            ..Credentials::default()
        }),
        None => Err(Failure::Answer("a sign-in without a token".to_owned())),
    }
}

fn first_line() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(Failure::file("standard input"))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn remember(path: &Path, credentials: Credentials) -> Result<(), Failure> {
    credentials::write(path, &credentials)
}
