//! The blobs of a plan. The agent fetches them into the folder of the run, because the runner has no connection; the
//! runner waits for all of them before its first step, so that a blob that does not come leaves the host as it was.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetwright_protocol::operation::Operation;
use fleetwright_protocol::outcome::FailureReason;

use super::decide::Contents;
use crate::blobs::Blobs;
use crate::operations::deploy_file::Content;

/// How often a runner looks whether a blob has come.
pub const LOOK: Duration = Duration::from_millis(50);

/// Fetches what is not there yet. What cannot be fetched is said to the runner, with the reason.
pub async fn provide(blobs: &Blobs, folder: &Path, plan: &Contents) {
    for sha256 in needed(plan) {
        let there = path(folder, &sha256);
        if there.exists() {
            continue;
        }
        let part = folder.join(format!("blob-{sha256}.part"));
        let fetched = blobs.fetch_into(&sha256, &part).await;
        let done = fetched
            .map_err(|error| error.to_string())
            .and_then(|()| std::fs::rename(&part, &there).map_err(|error| error.to_string()));
        if let Err(why) = done {
            tracing::warn!(sha256, why, "a blob of a plan cannot be fetched");
            // Without room for these words the runner waits until its time is over.
            let _ = std::fs::write(folder.join(format!("blob-{sha256}.failed")), &why);
            return;
        }
    }
}

/// Waits for all of them. `may_wait` waits a little, and says whether there is time for more.
pub fn wait(
    folder: &Path,
    plan: &Contents,
    mut may_wait: impl FnMut() -> bool,
) -> Result<(), (FailureReason, String)> {
    for sha256 in needed(plan) {
        while !path(folder, &sha256).exists() {
            let failed = folder.join(format!("blob-{sha256}.failed"));
            if let Ok(why) = std::fs::read_to_string(failed) {
                let why = format!("cannot fetch the blob {sha256}: {why}; nothing was run");
                return Err((FailureReason::AgentError, why));
            }
            if !may_wait() {
                let why = format!("the blob {sha256} did not come in time; nothing was run");
                return Err((FailureReason::TimedOut, why));
            }
        }
    }
    Ok(())
}

/// One that is there. The error is a sentence for a person.
pub fn open(folder: &Path, sha256: &str) -> Result<Content, String> {
    let unreadable = |error| format!("cannot read the blob {sha256}: {error}");
    let file = File::open(path(folder, sha256)).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    Ok(Content::File { file, bytes })
}

fn path(folder: &Path, sha256: &str) -> PathBuf {
    folder.join(format!("blob-{sha256}"))
}

fn needed(plan: &Contents) -> BTreeSet<String> {
    let named = plan.steps.iter().filter_map(|step| match &*step.operation {
        Operation::DeployFile(file) => file.blob_sha256.clone(),
        Operation::RunScript(_)
        | Operation::ServiceControl(_)
        | Operation::InstallPackage(_)
        | Operation::RemovePackage(_)
        | Operation::Reboot(_)
        | Operation::Shutdown(_)
        | Operation::ApplyDeploymentPlan(_) => None,
    });
    named.collect()
}
