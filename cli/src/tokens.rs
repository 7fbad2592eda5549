//! `fleetwright tokens` and `fleetwright enrollment-tokens`: both are shown once, when made.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::session::Session;
use crate::table::Cell;
use crate::{pages, prompt};

#[derive(Subcommand)]
pub enum TokensAction {
    /// List API tokens (never their secrets)
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make an API token; it is shown this once
    Create {
        name: String,
        /// viewer, operator or admin
        #[arg(long, default_value = "operator")]
        role: String,
        /// What it is narrowed to, such as hosts:read,fleet.bulk,operations (operations: to run something); everything
        /// the role may do if left out
        #[arg(long, value_delimiter = ',', value_name = "SCOPES")]
        scopes: Vec<String>,
        /// Narrow it to what belongs to this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Such as 30 for a month
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u64>,
        /// Print the token and nothing else
        #[arg(long, short)]
        quiet: bool,
    },
    /// Make a token useless, and with it those it has made
    Delete { id: String },
}

#[derive(Subcommand)]
pub enum EnrollmentTokensAction {
    /// List enrollment tokens (never their secrets)
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Make a token for agents; it is shown this once
    Create {
        /// To tell it from others
        #[arg(long, default_value = "")]
        name: String,
        /// How many agents may use it
        #[arg(long, default_value_t = 1)]
        uses: u64,
        /// How long it may be used
        #[arg(long, default_value_t = 60, value_name = "MINUTES")]
        expires_in_minutes: u64,
        /// Hosts that use it need no approval
        #[arg(long)]
        auto_approve: bool,
        /// Hosts that use it get these tags
        #[arg(long, value_delimiter = ',')]
        tags: Vec<String>,
        /// Print the token and nothing else
        #[arg(long, short)]
        quiet: bool,
    },
    /// Make a token useless
    Delete { id: String },
}

const TOKEN_COLUMNS: [Column; 7] = [
    Column {
        title: "NAME",
        cell: |token| output::plain(token, "name"),
    },
    Column {
        title: "ROLE",
        cell: |token| output::plain(token, "effective_role"),
    },
    Column {
        title: "SCOPES",
        cell: |token| output::plain(token, "scopes"),
    },
    Column {
        title: "OWNER",
        cell: owner,
    },
    Column {
        title: "PREFIX",
        cell: |token| output::plain(token, "prefix"),
    },
    Column {
        title: "EXPIRES",
        cell: |token| output::plain(token, "expires_at"),
    },
    Column {
        title: "ID",
        cell: |token| output::plain(token, "id"),
    },
];

/// One without an owner is older than owners are, and outlives whoever made it.
fn owner(token: &Value) -> Cell {
    let name = token.pointer("/owner/name").and_then(Value::as_str);
    Cell::plain(name.unwrap_or("(unknown)"))
}

const ENROLLMENT_COLUMNS: [Column; 5] = [
    Column {
        title: "NAME",
        cell: |token| output::plain(token, "name"),
    },
    Column {
        title: "USES LEFT",
        cell: |token| output::plain(token, "uses_left"),
    },
    Column {
        title: "TAGS",
        cell: |token| output::plain(token, "tags"),
    },
    Column {
        title: "EXPIRES",
        cell: |token| output::plain(token, "expires_at"),
    },
    Column {
        title: "ID",
        cell: |token| output::plain(token, "id"),
    },
];

pub fn api_tokens(session: &Session, action: TokensAction) -> Result<Completion, Failure> {
    match action {
        TokensAction::List { list } => {
            output::items(
                session,
                &pages::collect(&session.client, "/tokens", list.limit)?,
                &TOKEN_COLUMNS,
            )?;
        }
        TokensAction::Create {
            name,
            role,
            scopes,
            tenant,
            expires_in_days,
            quiet,
        } => {
            let mut body = Map::new();
            body.insert("name".to_owned(), json!(name));
            body.insert("role".to_owned(), json!(role));
            if !scopes.is_empty() {
                body.insert("scopes".to_owned(), json!(scopes));
            }
            if let Some(tenant) = tenant {
                body.insert("tenant".to_owned(), json!(tenant));
            }
            if let Some(days) = expires_in_days {
                body.insert(
                    "expires_in_seconds".to_owned(),
                    json!(days.saturating_mul(86_400)),
                );
            }
            let created = session.client.create("/tokens", &Value::Object(body))?;
            show_created(session, &created, quiet)?;
        }
        TokensAction::Delete { id } => delete(session, "/tokens", &id)?,
    }
    Ok(Completion::Done)
}

pub fn enrollment_tokens(
    session: &Session,
    action: EnrollmentTokensAction,
) -> Result<Completion, Failure> {
    match action {
        EnrollmentTokensAction::List { list } => {
            let tokens = pages::collect(&session.client, "/enrollment-tokens", list.limit)?;
            output::items(session, &tokens, &ENROLLMENT_COLUMNS)?;
        }
        EnrollmentTokensAction::Create {
            name,
            uses,
            expires_in_minutes,
            auto_approve,
            tags,
            quiet,
        } => {
            let body = json!({
                "name": name,
                "uses": uses,
                "expires_in_seconds": expires_in_minutes.saturating_mul(60),
                "auto_approve": auto_approve,
                "tags": tags,
            });
            let created = session.client.create("/enrollment-tokens", &body)?;
            show_created(session, &created, quiet)?;
        }
        EnrollmentTokensAction::Delete { id } => delete(session, "/enrollment-tokens", &id)?,
    }
    Ok(Completion::Done)
}

/// A secret is in the first answer only: if that one was lost, the token is of no use to anybody.
fn show_created(session: &Session, created: &Value, quiet: bool) -> Result<(), Failure> {
    let token = output::field(created, "token");
    if token.is_empty() {
        let id = output::field(created, "id");
        return Err(Failure::Answer(format!(
            "the token was made, but the answer with its secret was lost: delete {id} and make another"
        )));
    }
    if quiet {
        output::line(&token)
    } else {
        output::item(session, created)
    }
}

fn delete(session: &Session, list: &str, id: &str) -> Result<(), Failure> {
    prompt::confirm(
        session,
        &format!("Delete token {id}? Whoever uses it is locked out."),
    )?;
    session.client.delete(&format!("{list}/{}", escape(id)))?;
    Ok(())
}
