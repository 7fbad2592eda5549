//! `fleetwright groups`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::hosts::find::{self, name_of};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::select::selector;
use crate::session::Session;
use crate::table::Cell;
use crate::{pages, prompt};

#[derive(Subcommand)]
pub enum GroupsAction {
    /// List groups
    List {
        /// Only the children of this group; `root` for the top level
        #[arg(long)]
        parent: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one group
    Show { group: String },
    /// Make a group
    Create {
        name: String,
        #[command(flatten)]
        members: MemberArgs,
    },
    /// Change a group; what is not named stays
    Update {
        group: String,
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        members: MemberArgs,
    },
    /// Delete a group; its children move up
    Delete { group: String },
    /// List the hosts in a group now
    Hosts {
        group: String,
        /// Without the hosts of the groups below it
        #[arg(long)]
        direct: bool,
        #[command(flatten)]
        list: ListArgs,
    },
}

#[derive(Args)]
pub struct MemberArgs {
    #[arg(long)]
    description: Option<String>,
    /// The group above it; `root` for none
    #[arg(long)]
    parent: Option<String>,
    /// Hosts that match this expression are in it
    #[arg(long, value_name = "EXPR")]
    select: Option<String>,
    /// These hosts are in it
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

const COLUMNS: [Column; 4] = [
    Column {
        title: "NAME",
        cell: |group| output::plain(group, "name"),
    },
    Column {
        title: "DESCRIPTION",
        cell: |group| output::plain(group, "description"),
    },
    Column {
        title: "PARENT",
        cell: |group| output::plain(group, "parent_id"),
    },
    Column {
        title: "ID",
        cell: |group| output::plain(group, "id"),
    },
];

const HOST_COLUMNS: [Column; 3] = [
    Column {
        title: "NAME",
        cell: |host| Cell::plain(name_of(host)),
    },
    Column {
        title: "STATUS",
        cell: |host| output::status(host, "status"),
    },
    Column {
        title: "ID",
        cell: |host| output::plain(host, "id"),
    },
];

pub fn run(session: &Session, action: GroupsAction) -> Result<Completion, Failure> {
    match action {
        GroupsAction::List { parent, list } => {
            let filter = match parent.as_deref() {
                None => String::new(),
                Some("root") => "?parent_id=root".to_owned(),
                Some(parent) => format!("?parent_id={}", id_of(session, parent)?),
            };
            let groups = pages::collect(
                &session.client,
                &format!("/fleet/groups{filter}"),
                list.limit,
            )?;
            output::items(session, &groups, &COLUMNS)?;
        }
        GroupsAction::Show { group } => output::item(session, &find(session, &group)?)?,
        GroupsAction::Create { name, members } => {
            let body = members.merged(session, json!({ "name": name }))?;
            output::item(session, &session.client.create("/fleet/groups", &body)?)?;
        }
        GroupsAction::Update {
            group,
            name,
            members,
        } => update(session, &group, name, &members)?,
        GroupsAction::Delete { group } => {
            let id = id_of(session, &group)?;
            prompt::confirm(session, &format!("Delete group {group}?"))?;
            session.client.delete(&format!("/fleet/groups/{id}"))?;
        }
        GroupsAction::Hosts {
            group,
            direct,
            list,
        } => {
            let id = id_of(session, &group)?;
            let path = format!(
                "/fleet/groups/{id}/hosts{}",
                if direct { "?direct=true" } else { "" }
            );
            let hosts = pages::collect(&session.client, &path, list.limit)?;
            let hosts: Vec<Value> = hosts.into_iter().map(as_host).collect();
            output::items(session, &hosts, &HOST_COLUMNS)?;
        }
    }
    Ok(Completion::Done)
}

impl MemberArgs {
    /// `base` with what was named on the command line laid over it.
    fn merged(&self, session: &Session, base: Value) -> Result<Value, Failure> {
        let mut fields: Map<String, Value> = match base {
            Value::Object(fields) => fields,
            _ => return Err(Failure::Answer("a group that is no object".to_owned())),
        };
        if let Some(description) = &self.description {
            fields.insert("description".to_owned(), json!(description));
        }
        match self.parent.as_deref() {
            None => {}
            Some("root") => {
                fields.insert("parent_id".to_owned(), Value::Null);
            }
            Some(parent) => {
                fields.insert("parent_id".to_owned(), json!(id_of(session, parent)?));
            }
        }
        if let Some(expression) = &self.select {
            fields.insert("selector".to_owned(), selector(expression));
        }
        if !self.hosts.is_empty() {
            let ids = self
                .hosts
                .iter()
                .map(|host| find::resolve(session, host))
                .collect::<Result<Vec<_>, _>>()?;
            fields.insert("explicit_host_ids".to_owned(), json!(ids));
        }
        Ok(Value::Object(fields))
    }
}

/// A PUT replaces the whole group: what was not named is sent as it was, guarded by the revision it was read at.
fn update(
    session: &Session,
    group: &str,
    name: Option<String>,
    members: &MemberArgs,
) -> Result<(), Failure> {
    let known = find(session, group)?;
    let id = output::field(&known, "id");
    let revision = format!("\"{}\"", output::field(&known, "revision"));
    let mut base = json!({});
    for field in [
        "name",
        "description",
        "parent_id",
        "explicit_host_ids",
        "selector",
    ] {
        if let Some(value) = known.get(field) {
            base[field] = value.clone();
        }
    }
    if let Some(name) = name {
        base["name"] = json!(name);
    }
    let body = members.merged(session, base)?;
    let changed = session
        .client
        .put(&format!("/fleet/groups/{id}"), &body, Some(&revision))?;
    output::item(session, &changed)
}

fn find(session: &Session, group: &str) -> Result<Value, Failure> {
    if uuid::Uuid::try_parse(group).is_ok() {
        return Ok(session
            .client
            .get(&format!("/fleet/groups/{}", escape(group)))?);
    }
    let groups = pages::collect(&session.client, "/fleet/groups", usize::MAX)?;
    let named = groups
        .into_iter()
        .find(|known| output::field(known, "name") == group);
    let named = named.ok_or_else(|| Failure::Input(format!("no group is named {group}")))?;
    // Lists may leave fields out; a change must start from all of them.
    Ok(session
        .client
        .get(&format!("/fleet/groups/{}", output::field(&named, "id")))?)
}

fn id_of(session: &Session, group: &str) -> Result<String, Failure> {
    find(session, group).map(|group| output::field(&group, "id"))
}

/// A membership list may hold records or bare ids.
fn as_host(item: Value) -> Value {
    if item.is_string() {
        json!({ "id": item })
    } else {
        item
    }
}
