//! `fleetwright blobs`: uploaded content, for whoever wants its room back.

use clap::Subcommand;

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::{self, ListArgs};
use crate::prompt;
use crate::session::Session;

#[derive(Subcommand)]
pub enum BlobsAction {
    /// List uploaded content, newest first
    List {
        #[command(flatten)]
        list: ListArgs,
    },
    /// Remove content that nothing refers to which is not over
    Delete { sha256: String },
}

const COLUMNS: [Column; 5] = [
    Column {
        title: "SHA-256",
        cell: |blob| output::plain(blob, "sha256"),
    },
    Column {
        title: "BYTES",
        cell: |blob| output::plain(blob, "size_bytes"),
    },
    Column {
        title: "IN USE",
        cell: |blob| output::plain(blob, "in_use"),
    },
    Column {
        title: "LAST USED",
        cell: |blob| output::plain(blob, "used_at"),
    },
    Column {
        title: "UPLOADED BY",
        cell: |blob| output::plain(blob, "created_by"),
    },
];

pub fn blobs(session: &Session, action: BlobsAction) -> Result<Completion, Failure> {
    match action {
        BlobsAction::List { list } => {
            let blobs = pages::collect(&session.client, "/blobs", list.limit)?;
            output::items(session, &blobs, &COLUMNS)?;
        }
        BlobsAction::Delete { sha256 } => {
            let question =
                format!("Delete the content {sha256}? Whoever deploys it must upload it again.");
            prompt::confirm(session, &question)?;
            session
                .client
                .delete(&format!("/blobs/{}", escape(&sha256)))?;
        }
    }
    Ok(Completion::Done)
}
