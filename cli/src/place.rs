//! `fleetwright place`: VMs on nodes.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::session::Session;
use crate::{pages, prompt};

#[derive(Subcommand)]
pub enum PlaceAction {
    /// Place a VM: its memory is held on a node until it is confirmed
    Create(Box<CreateArgs>),
    /// List placements
    List {
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one
    Show { id: String },
    /// Give its capacity back
    Release { id: String },
    /// The VM runs there
    Confirm { id: String },
}

#[derive(Args)]
pub struct CreateArgs {
    /// Whose it is
    #[arg(long)]
    pub tenant: Option<String>,
    /// As the node's agent will report the VM; the placement's id if not given
    #[arg(long)]
    pub vm: Option<String>,
    /// In MiB
    #[arg(long, value_name = "MB")]
    pub memory: u64,
    #[arg(long)]
    pub vcpus: Option<u64>,
    /// Only where KVM is there
    #[arg(long)]
    pub kvm: bool,
    /// The id of the node that is taken if it fits
    #[arg(long, value_name = "NODE")]
    pub prefer: Option<String>,
    /// No other node will do
    #[arg(long, requires = "prefer")]
    pub only: bool,
    /// Something to keep with it (may be repeated)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

const COLUMNS: [Column; 7] = [
    Column {
        title: "ID",
        cell: |placement| output::plain(placement, "id"),
    },
    Column {
        title: "TENANT",
        cell: |placement| output::plain(placement, "tenant_id"),
    },
    Column {
        title: "VM",
        cell: |placement| output::plain(placement, "vm_id"),
    },
    Column {
        title: "NODE",
        cell: |placement| output::plain(placement, "node_id"),
    },
    Column {
        title: "MEMORY MB",
        cell: |placement| output::plain(placement, "memory_mb"),
    },
    Column {
        title: "STATE",
        cell: |placement| output::status(placement, "state"),
    },
    Column {
        title: "EXPIRES",
        cell: |placement| output::plain(placement, "expires_at"),
    },
];

pub fn run(session: &Session, action: PlaceAction) -> Result<Completion, Failure> {
    let client = &session.client;
    match action {
        PlaceAction::Create(args) => {
            let made = client.create("/fleet/placements", &body(&args)?)?;
            output::item(session, &made)?;
        }
        PlaceAction::List { tenant, list } => {
            let path = match tenant {
                Some(tenant) => format!("/fleet/placements?tenant_id={}", escape(&tenant)),
                None => "/fleet/placements".to_owned(),
            };
            output::items(
                session,
                &pages::collect(client, &path, list.limit)?,
                &COLUMNS,
            )?;
        }
        PlaceAction::Show { id } => output::item(session, &client.get(&path(&id))?)?,
        PlaceAction::Release { id } => {
            prompt::confirm(session, &format!("Release placement {id}?"))?;
            client.delete(&path(&id))?;
        }
        PlaceAction::Confirm { id } => {
            let confirmed = client.create(&format!("{}/confirm", path(&id)), &json!({}))?;
            output::item(session, &confirmed)?;
        }
    }
    Ok(Completion::Done)
}

fn body(args: &CreateArgs) -> Result<Value, Failure> {
    let mut fields = Map::new();
    fields.insert("memory_mb".to_owned(), json!(args.memory));
    let texts = [
        ("tenant_id", &args.tenant),
        ("vm_id", &args.vm),
        ("preferred_node", &args.prefer),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            fields.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(vcpus) = args.vcpus {
        fields.insert("vcpus".to_owned(), json!(vcpus));
    }
    for (name, flag) in [("require_kvm", args.kvm), ("preferred_only", args.only)] {
        if flag {
            fields.insert(name.to_owned(), json!(true));
        }
    }
    let mut labels = Map::new();
    for label in &args.labels {
        let (name, value) = label
            .split_once('=')
            .ok_or_else(|| Failure::Input(format!("{label}: a label is NAME=VALUE")))?;
        labels.insert(name.to_owned(), json!(value));
    }
    if !labels.is_empty() {
        fields.insert("labels".to_owned(), Value::Object(labels));
    }
    Ok(Value::Object(fields))
}

fn path(id: &str) -> String {
    format!("/fleet/placements/{}", escape(id))
}
