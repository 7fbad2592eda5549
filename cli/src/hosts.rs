//! `fleetwright hosts`: the inventory, approval, tags, and one operation on one host.

mod admission;
mod claims;
pub mod find;
mod tags;
mod unlock;

use clap::Subcommand;
use serde_json::Value;

use crate::client::escape;
use crate::commands;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::script::ScriptArgs;
use crate::session::Session;
use crate::table::Cell;
use crate::{follow, pages, prompt};

use find::{name_of, resolve};

#[derive(Subcommand)]
pub enum HostsAction {
    /// List hosts
    List {
        /// Only `online` or `offline` ones
        #[arg(long)]
        status: Option<String>,
        /// Only `pending`, `approved` or `rejected` ones
        #[arg(long)]
        approval_status: Option<String>,
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Only those whose name begins with this
        #[arg(long, short)]
        query: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one host
    Show {
        host: String,
        /// Show it again whenever it changes
        #[arg(long, short)]
        watch: bool,
    },
    /// Let hosts receive operations
    Approve {
        #[arg(required_unless_present = "pending")]
        hosts: Vec<String>,
        /// All hosts that wait for approval
        #[arg(long, conflicts_with = "hosts")]
        pending: bool,
        /// Give them the tags and attributes that they claim now
        #[arg(long)]
        accept_tags: bool,
    },
    /// Cut hosts off
    Reject {
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Say which of two machines that were met with one identity is the host
    Unlock {
        host: String,
        /// `earlier`, the machine known before, or `later`, the one that was met; `hosts show` tells which is which.
        /// The other one is refused from then on, and enrolls anew
        #[arg(long, value_parser = ["earlier", "later"])]
        keep: Option<String>,
    },
    /// Add and remove tags
    Tag {
        #[arg(required = true)]
        hosts: Vec<String>,
        #[arg(long, value_delimiter = ',', value_name = "TAG")]
        add: Vec<String>,
        #[arg(long, value_delimiter = ',', value_name = "TAG")]
        remove: Vec<String>,
        /// Give them the tags and attributes that they claim now
        #[arg(long)]
        accept: bool,
    },
    /// Call hosts what they call themselves now
    AcceptNames {
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Forget a host
    Delete { host: String },
    /// Run a command on one host and show what it printed
    Run {
        host: String,
        #[command(flatten)]
        script: ScriptArgs,
        #[arg(last = true, value_name = "CMD")]
        command: Vec<String>,
    },
}

const COLUMNS: [Column; 7] = [
    Column {
        title: "NAME",
        cell: |host| Cell::plain(name_of(host)),
    },
    Column {
        title: "STATUS",
        cell: |host| output::status(host, "status"),
    },
    Column {
        title: "APPROVAL",
        cell: |host| output::status(host, "approval_status"),
    },
    Column {
        title: "PLATFORM",
        cell: |host| Cell::plain(platform_of(host)),
    },
    Column {
        title: "TAGS",
        cell: |host| output::plain(host, "tags"),
    },
    Column {
        title: "AGENT",
        cell: |host| output::plain(host, "agent_version"),
    },
    Column {
        title: "ID",
        cell: |host| output::plain(host, "id"),
    },
];

pub fn run(session: &Session, action: HostsAction) -> Result<Completion, Failure> {
    match action {
        HostsAction::List {
            status,
            approval_status,
            tag,
            query,
            list,
        } => {
            let filters = [
                ("status", status),
                ("approval_status", approval_status),
                ("tag", tag),
                ("q", query),
            ];
            let hosts = pages::collect(&session.client, &list_path(&filters), list.limit)?;
            output::items(session, &hosts, &COLUMNS)?;
        }
        HostsAction::Show { host, watch } => show(session, &host, watch)?,
        HostsAction::Approve {
            hosts,
            pending,
            accept_tags,
        } => admission::approve(session, &hosts, pending, accept_tags)?,
        HostsAction::Reject { hosts } => admission::reject(session, &hosts)?,
        HostsAction::Unlock { host, keep } => unlock::unlock(session, &host, keep)?,
        HostsAction::Tag {
            hosts,
            add,
            remove,
            accept,
        } => tags::tag(session, &hosts, &add, &remove, accept)?,
        HostsAction::AcceptNames { hosts } => claims::accept_names(session, &hosts)?,
        HostsAction::Delete { host } => delete(session, &host)?,
        HostsAction::Run {
            host,
            script,
            command,
        } => {
            let id = resolve(session, &host)?;
            return commands::run_on_host(session, &id, &script, &command);
        }
    }
    Ok(Completion::Done)
}

fn platform_of(host: &Value) -> String {
    let release = [
        output::field(host, "platform_release"),
        output::field(host, "platform_version"),
    ]
    .join(" ");
    match release.trim() {
        "" => output::field(host, "platform"),
        release => release.to_owned(),
    }
}

fn list_path(filters: &[(&str, Option<String>)]) -> String {
    let set: Vec<String> = filters
        .iter()
        .filter_map(|(name, value)| {
            value
                .as_ref()
                .map(|value| format!("{name}={}", escape(value)))
        })
        .collect();
    if set.is_empty() {
        "/hosts".to_owned()
    } else {
        format!("/hosts?{}", set.join("&"))
    }
}

fn show(session: &Session, host: &str, watch: bool) -> Result<(), Failure> {
    let path = format!("/hosts/{}", resolve(session, host)?);
    let host = session.client.get(&path)?;
    unlock::show(session, &host)?;
    if watch {
        follow::changes(session, &path, host, |host| {
            output::line("").and_then(|()| unlock::show(session, host))
        })?;
    }
    Ok(())
}

fn delete(session: &Session, host: &str) -> Result<(), Failure> {
    let id = resolve(session, host)?;
    prompt::confirm(
        session,
        &format!("Delete host {host}? What is queued for it is skipped."),
    )?;
    session.client.delete(&format!("/hosts/{id}"))?;
    output::note(session, &format!("deleted {host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_escaped() {
        assert_eq!(
            list_path(&[("tag", Some("a&b".into())), ("q", None)]),
            "/hosts?tag=a%26b"
        );
    }
}
