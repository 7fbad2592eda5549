//! `fleetwright audit`: the log, its check, and signed heads of it. A head that is kept where nobody of the server's reach can
//! change it shows later whether anything up to it was removed or made anew.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fleetwright_signing::AuditHead;
use serde_json::Value;

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::Column;
use crate::pages::{self, ListArgs};
use crate::session::Session;
use crate::{keys, output};

#[derive(Subcommand)]
pub enum AuditAction {
    /// Rows, newest first
    List {
        /// Such as user.create or session.refused
        #[arg(long)]
        action: Option<String>,
        /// Such as user:<id>
        #[arg(long)]
        principal: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// The newest row, signed: keep it away from the server
    Head {
        /// Where to write it [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check the whole log; exits with 1 if something is wrong with it
    Verify {
        /// A head that was kept: what was removed or made anew since is found too
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Check a kept head's signature, without a server
    CheckHead(CheckHeadArgs),
}

#[derive(Args)]
pub struct CheckHeadArgs {
    file: PathBuf,
    /// The public key it must be signed with, in hex, or a file with an earlier head of the same server
    #[arg(long, value_name = "KEY|FILE")]
    key: Option<String>,
}

const COLUMNS: [Column; 6] = [
    Column {
        title: "NUMBER",
        cell: |row| output::plain(row, "sequence"),
    },
    Column {
        title: "AT",
        cell: |row| output::plain(row, "at"),
    },
    Column {
        title: "WHO",
        cell: |row| output::plain(row, "principal_name"),
    },
    Column {
        title: "FROM",
        cell: |row| output::plain(row, "address"),
    },
    Column {
        title: "ACTION",
        cell: |row| output::plain(row, "action"),
    },
    Column {
        title: "TARGET",
        cell: |row| output::plain(row, "target_id"),
    },
];

pub fn run(session: &Session, action: AuditAction) -> Result<Completion, Failure> {
    match action {
        AuditAction::List {
            action,
            principal,
            list,
        } => show(session, action.as_deref(), principal.as_deref(), list),
        AuditAction::Head { out } => head(session, out.as_deref()),
        AuditAction::Verify { head } => verify(session, head.as_deref()),
        AuditAction::CheckHead(check) => check_head(&check),
    }
}

pub fn check_head(check: &CheckHeadArgs) -> Result<Completion, Failure> {
    let head = read(&check.file)?;
    let expected = match &check.key {
        Some(key) if Path::new(key).is_file() => Some(read(Path::new(key))?.public_key),
        Some(key) => Some(key.clone()),
        None => None,
    };
    head.verify(expected.as_deref())
        .map_err(keys::named(&check.file))?;
    output::line(&format!(
        "signed at {} with the key {}: row {} has the digest {}",
        head.at, head.public_key, head.sequence, head.digest
    ))?;
    Ok(Completion::Done)
}

fn show(
    session: &Session,
    action: Option<&str>,
    principal: Option<&str>,
    list: ListArgs,
) -> Result<Completion, Failure> {
    let filters: Vec<String> = [("action", action), ("principal", principal)]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", escape(value))))
        .collect();
    let path = match filters.is_empty() {
        true => "/audit".to_owned(),
        false => format!("/audit?{}", filters.join("&")),
    };
    let items = pages::collect(&session.client, &path, list.limit)?;
    output::items(session, &items, &COLUMNS)?;
    Ok(Completion::Done)
}

fn head(session: &Session, out: Option<&Path>) -> Result<Completion, Failure> {
    let head = session.client.get("/audit/head")?;
    let text = format!("{head:#}\n");
    match out {
        Some(path) => {
            std::fs::write(path, text).map_err(Failure::file(path.display().to_string()))?
        }
        None => output::text(&text)?,
    }
    Ok(Completion::Done)
}

fn verify(session: &Session, head: Option<&Path>) -> Result<Completion, Failure> {
    let mut path = "/audit/verify".to_owned();
    if let Some(file) = head {
        let head = read(file)?;
        // Before the server is asked, which may have been told what to say.
        head.verify(None).map_err(keys::named(file))?;
        path = format!(
            "{path}?sequence={}&digest={}&row_at={}&at={}&key_id={}&signature={}",
            head.sequence,
            escape(&head.digest),
            escape(&head.row_at),
            escape(&head.at),
            escape(&head.key_id),
            escape(&head.signature)
        );
    }
    let report = session.client.get(&path)?;
    output::item(session, &report)?;
    let is_valid = report.get("valid").and_then(Value::as_bool) == Some(true);
    Ok(match is_valid {
        true => Completion::Done,
        false => Completion::NotAllSucceeded,
    })
}

fn read(file: &Path) -> Result<AuditHead, Failure> {
    serde_json::from_str(&keys::read_text(file)?).map_err(keys::named(file))
}
