//! What `status` shows: the running agent notes its state in a file, because it listens on nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::private_file;

const FILE: &str = "status.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Before the first answer. Later attempts leave standing what the last one found, so that the reason can be read.
    Connecting,
    Connected,
    /// An operator has to let this host in first.
    NotApproved,
    /// The server has met another machine with this identity.
    IdentityConflict,
    WrongProtocol,
    /// The certificate ended too long ago: only a new enrollment helps.
    MustEnrollAgain,
    Disconnected,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub state: ConnectionState,
    /// Why, in a sentence; empty if there is nothing to say.
    pub detail: String,
    pub since_unix_seconds: u64,
    pub pid: u32,
}

/// Notes a state. It is information only, so a failure is logged and no more.
pub fn note(data_dir: &Path, state: ConnectionState, detail: &str, now_unix_seconds: u64) {
    let status = Status {
        state,
        detail: detail.to_owned(),
        since_unix_seconds: now_unix_seconds,
        pid: std::process::id(),
    };
    let bytes = serde_json::to_vec(&status).unwrap_or_default();
    if let Err(error) = private_file::write(&data_dir.join(FILE), &bytes) {
        tracing::debug!(%error, "cannot note the status");
    }
}

/// What was noted last.
pub fn read(data_dir: &Path) -> Option<Status> {
    serde_json::from_slice(&std::fs::read(data_dir.join(FILE)).ok()?).ok()
}
