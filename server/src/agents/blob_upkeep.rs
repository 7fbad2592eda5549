//! Uploaded content that is not needed any more: removed by people, and by itself some time after nothing refers to it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::Agents;
use super::blobs::BlobDigest;
use super::store::{self, Blob};
use crate::app::App;
use crate::audit::{self, AuditContext};
use crate::commands::blobs::{Among, is_named_in};
use crate::db::DbError;
use crate::loops::Loop;

/// Looked at together: one question to the database and one to each module.
const BATCH: u32 = 100;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// A file that no row knows is from an upload under way, for so long at most: the largest at a slow line's pace.
const UNKNOWN_FILE_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Why content was not removed.
#[derive(Debug, thiserror::Error)]
pub enum BlobDeleteError {
    #[error("there is no such content")]
    NotFound,
    #[error("something that is not over refers to it")]
    InUse,
    #[error("whether {} need it is not known", .0.join(", "))]
    Unknown(Vec<String>),
    #[error("its file cannot be removed: {0}")]
    Io(#[source] std::io::Error),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Sweeps until the server ends.
pub async fn run(app: &App, agents: &Agents) {
    let place = app.loops.take(Loop::Blobs);
    place
        .every(|| async {
            match sweep(app, agents).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(
                    removed,
                    "uploaded content that nothing refers to was removed"
                ),
                Err(error) => {
                    tracing::warn!(%error, "uploaded content could not be swept; again in a while")
                }
            }
        })
        .await;
}

/// What is known of which contents something open refers to.
pub struct Uses {
    digests: BTreeSet<String>,
    /// Every module has answered.
    is_whole: bool,
}

impl Uses {
    /// `None` if a module that may need it does not answer.
    pub fn of(&self, sha256: &str) -> Option<bool> {
        match self.digests.contains(sha256) {
            true => Some(true),
            false => self.is_whole.then_some(false),
        }
    }
}

/// Which of the contents something open refers to: a command, an operation, a schedule.
pub async fn in_use(app: &App, blobs: &[Blob]) -> Result<Uses, DbError> {
    let wanted: Vec<String> = blobs.iter().map(|blob| blob.sha256.to_hex()).collect();
    let mut digests = app.commands.naming(&wanted, Among::Open).await?;
    let by_modules = app.modules.naming(&wanted).await?;
    digests.extend(by_modules.digests);
    let is_whole = by_modules.silent.is_empty();
    Ok(Uses { digests, is_whole })
}

/// Removes content, unless something open refers to it, or may: what a module keeps that does not answer is not known.
pub async fn delete(
    app: &App,
    agents: &Agents,
    context: AuditContext,
    sha256: BlobDigest,
) -> Result<(), BlobDeleteError> {
    let hex = sha256.to_hex();
    let by_modules = app.modules.naming(std::slice::from_ref(&hex)).await?;
    if by_modules.digests.contains(&hex) {
        return Err(BlobDeleteError::InUse);
    }
    if !by_modules.silent.is_empty() {
        let silent = by_modules.silent.into_iter().collect();
        return Err(BlobDeleteError::Unknown(silent));
    }
    let _alone = agents.blobs().alone().await;
    let now_us = app.clock.now_us();
    app.db
        .write(move |tx| {
            if is_named_in(tx, &hex, Among::Open)? {
                return Err(BlobDeleteError::InUse);
            }
            if !store::delete_blob_in(tx, sha256.0)? {
                return Err(BlobDeleteError::NotFound);
            }
            let entry = audit::entry("blob.delete", "blob", hex, json!({}));
            Ok(audit::append(tx, now_us, &context, &entry)?)
        })
        .await?;
    let removed = agents.blobs().remove(sha256).await;
    removed.map_err(BlobDeleteError::Io)
}

/// Removes what was neither uploaded nor seen referred to for the time it is kept. Returns how many.
pub async fn sweep(app: &App, agents: &Agents) -> Result<u64, DbError> {
    let kept_us = i64::from(app.config.retention.blobs_days).saturating_mul(DAY_US);
    let mut removed = 0;
    loop {
        // A wall clock that was set wrong must not cost what is to be kept.
        let before_us = app.clock.now().earlier_us().saturating_sub(kept_us);
        let old = store::blobs_unused(&app.db, before_us, BATCH).await?;
        if old.is_empty() {
            break;
        }
        let digests: Vec<String> = old.iter().map(|blob| blob.sha256.to_hex()).collect();
        let by_modules = app.modules.naming(&digests).await?;
        if !by_modules.silent.is_empty() {
            return Ok(removed);
        }
        for blob in old {
            let named = by_modules.digests.contains(&blob.sha256.to_hex());
            if remove_unused(app, agents, &blob, named).await? {
                removed += 1;
            }
        }
    }
    if let Err(error) = sweep_files(app, agents).await {
        tracing::warn!(%error, "the folder of uploaded content could not be looked through");
    }
    Ok(removed)
}

/// Decides in the transaction that removes it: a command that was created meanwhile is seen, and so is another upload.
async fn remove_unused(
    app: &App,
    agents: &Agents,
    blob: &Blob,
    is_named: bool,
) -> Result<bool, DbError> {
    let _alone = agents.blobs().alone().await;
    let (sha256, seen_us, now_us) = (blob.sha256, blob.used_at_us, app.clock.now_us());
    let is_gone = app
        .db
        .write(move |tx| -> Result<bool, DbError> {
            if is_named || is_named_in(tx, &sha256.to_hex(), Among::Stored)? {
                store::use_blob_in(tx, sha256.0, now_us)?;
                return Ok(false);
            }
            store::delete_unused_blob_in(tx, sha256.0, seen_us)
        })
        .await?;
    if is_gone && let Err(error) = agents.blobs().remove(sha256).await {
        // Found again as a file that no row knows.
        tracing::warn!(%error, "the file of uploaded content could not be removed");
    }
    Ok(is_gone)
}

/// Files without a row: what was under way when a server died.
async fn sweep_files(app: &App, agents: &Agents) -> std::io::Result<()> {
    for sha256 in agents.blobs().older_than(UNKNOWN_FILE_KEPT).await? {
        let _alone = agents.blobs().alone().await;
        match store::blob(&app.db, sha256.0).await {
            Ok(None) => agents.blobs().remove(sha256).await?,
            Ok(Some(_)) => {}
            Err(error) => return Err(std::io::Error::other(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fleetwright_plugin_api::wire::{OfflinePolicy, SetCreate};
    use fleetwright_protocol::{ExecutionOptions, HostId, SetId};
    use futures_util::stream;
    use sha2::{Digest as _, Sha256};
    use uuid::Uuid;

    use super::*;
    use crate::agents::AgentsParts;
    use crate::clock::ManualClock;
    use crate::commands::create::create_in;
    use crate::config::Config;
    use crate::db::Statement;

    async fn upload(app: &App, agents: &Agents, content: &'static [u8]) -> BlobDigest {
        let digest = BlobDigest(Sha256::digest(content).into());
        let chunks = stream::iter([Ok::<_, ()>(Bytes::from_static(content))]);
        let received = agents.blobs().receive(digest, app.clock.new_id(), chunks);
        let size = agents.blobs().place(received.await.unwrap()).await.unwrap();
        let now_us = app.clock.now_us();
        let row = move |tx: &mut crate::db::Tx<'_>| {
            store::insert_blob_in(tx, digest.0, size, "user:1", now_us)
        };
        app.db.write(row).await.unwrap();
        digest
    }

    /// A set of a host that is not there any more: it is finished when it is made.
    async fn finished_set_naming(app: &App, digest: BlobDigest) {
        let request = SetCreate {
            set_id: SetId(app.clock.new_id()),
            operation_type: "deploy_file".to_owned(),
            parameters: json!({"path": "/x", "blob_sha256": digest.to_hex()}),
            options: ExecutionOptions::default(),
            timeout_seconds: 60,
            expires_in_seconds: 60,
            max_concurrency: 0,
            offline: OfflinePolicy::Queue,
            held: false,
            on_behalf_of: None,
        };
        let commands = app.commands.clone();
        let hosts = vec![HostId(Uuid::from_u128(1))];
        let made = app
            .db
            .write(move |tx| create_in(tx, &commands, &request, hosts, "core", "user:1"));
        made.await.unwrap();
    }

    #[tokio::test]
    async fn what_nothing_refers_to_goes_some_days_after_it_was_last_uploaded() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(20_000 * DAY_US);
        let config = Config {
            data_dir: folder.path().join("data"),
            modules_dir: folder.path().join("modules"),
            ..Config::default()
        };
        crate::install_crypto();
        let (app, _workers) = App::build(config, clock.clone(), None).await.unwrap();
        let agents = Agents::open(AgentsParts::of(&app)).unwrap();
        let unused = upload(&app, &agents, b"unused").await;
        let again = upload(&app, &agents, b"again").await;
        let named = upload(&app, &agents, b"named").await;
        finished_set_naming(&app, named).await;
        let days = |days: u64| Duration::from_secs(days * 24 * 3_600);
        clock.advance(days(7));
        assert_eq!(sweep(&app, &agents).await.unwrap(), 0, "too soon");
        upload(&app, &agents, b"again").await;
        clock.advance(days(2));
        assert_eq!(sweep(&app, &agents).await.unwrap(), 1);
        let is_there = async |digest: BlobDigest| {
            let row = store::blob(&app.db, digest.0).await.unwrap();
            let file = agents.blobs().find(digest).await.unwrap();
            assert_eq!(row.is_some(), file.is_some(), "row and file go together");
            row.map(|blob| blob.used_at_us)
        };
        assert_eq!(is_there(unused).await, None);
        assert!(is_there(again).await.is_some());
        let seen_us = is_there(named).await;
        assert_eq!(seen_us, Some(app.clock.now_us()), "seen referred to");
        // A module that was here once may have something that needs it.
        let context = AuditContext::system("test");
        let recorded = |sql: &'static str| app.db.write(move |tx| tx.execute(Statement::new(sql)));
        let sql = "INSERT INTO installed_modules (name, version, sha256, loaded_at) VALUES ('schedules', '1.0.0', '', 1)";
        recorded(sql).await.unwrap();
        let refused = delete(&app, &agents, context.clone(), named).await;
        let is_told =
            matches!(&refused, Err(BlobDeleteError::Unknown(silent)) if silent == &["schedules"]);
        assert!(is_told, "{refused:?}");
        let blob = store::blob(&app.db, named.0).await.unwrap().unwrap();
        let uses = async || in_use(&app, std::slice::from_ref(&blob)).await.unwrap();
        assert_eq!(uses().await.of(&named.to_hex()), None);
        recorded("DELETE FROM installed_modules").await.unwrap();
        assert_eq!(uses().await.of(&named.to_hex()), Some(false));
        // Nothing open refers to it: whoever wants its room may have it.
        delete(&app, &agents, context, named).await.unwrap();
        assert_eq!(is_there(named).await, None);
    }
}
