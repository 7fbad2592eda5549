//! What an operation that runs in a process of its own says of itself: a file in the folder of its run, which its
//! supervisor puts into the exit record.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fleetwright_protocol::Outcome;
use fleetwright_protocol::limits::DETAILS_BYTES_MAX;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::masks::Masks;

/// Made empty before the run, for the account it runs as.
pub const FILE_NAME: &str = "result.json";

/// A sentence, or a few: the words of a tool are in the output.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// Above the largest result: details, and a message of four-byte characters that JSON escapes.
const RESULT_BYTES_MAX: u64 = DETAILS_BYTES_MAX as u64 + 64 * 1024;

/// The part of an outcome that only the operation itself knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationResult {
    pub succeeded: bool,
    #[serde(default)]
    pub reason: Option<FailureReason>,
    /// Of the tool that said no.
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub changed: bool,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub details: Option<Value>,
}

/// What a run has left of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnResult {
    /// Its exit code says it all.
    #[default]
    NotExpected,
    Missing,
    Left(Box<OperationResult>),
}

impl OwnResult {
    /// Without the secrets that it may repeat.
    pub fn hiding(mut self, masks: &Masks) -> Self {
        if let Self::Left(result) = &mut self {
            result.message = masks.text(std::mem::take(&mut result.message));
            if let Some(details) = &mut result.details {
                masks.document(details);
            }
        }
        self
    }
}

impl OperationResult {
    /// Of this outcome, cut to what a result may hold.
    pub fn of(outcome: Outcome) -> Self {
        let mut message: String = outcome.message.chars().take(MESSAGE_CHARS_MAX).collect();
        let fits = |details: &Value| details.to_string().len() <= DETAILS_BYTES_MAX;
        let details = outcome.details.as_ref().filter(|details| fits(details));
        if outcome.details.is_some() && details.is_none() {
            message.push_str(" (its details are too long to be kept)");
        }
        Self {
            succeeded: outcome.status == OutcomeStatus::Succeeded,
            reason: outcome.reason,
            exit_code: outcome.exit_code,
            changed: outcome.changed,
            message,
            details: details.cloned(),
        }
    }

    pub fn outcome(self) -> Outcome {
        let outcome = if self.succeeded {
            Outcome::succeeded(self.changed)
        } else {
            let reason = self.reason.unwrap_or(FailureReason::AgentError);
            Outcome::failed(reason, "")
        };
        Outcome {
            exit_code: self.exit_code,
            changed: self.changed,
            message: self.message,
            details: self.details,
            ..outcome
        }
    }

    /// Leaves it in the folder of the run, on disk before it returns. Half of it is not JSON, so it reads as none.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let mut file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(folder.join(FILE_NAME))?;
        file.write_all(&json)?;
        file.sync_data()
    }
}

impl OwnResult {
    /// What is in the folder. The file may belong to another account, which is not trusted with its size.
    pub fn read(folder: &Path) -> Self {
        let open = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(folder.join(FILE_NAME));
        let mut json = Vec::new();
        let read = open.and_then(|file| file.take(RESULT_BYTES_MAX).read_to_end(&mut json));
        match read.ok().and_then(|_| serde_json::from_slice(&json).ok()) {
            // Cut once more, whoever wrote it.
            Some(result) => Self::Left(Box::new(OperationResult::of(OperationResult::outcome(
                result,
            )))),
            None => Self::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn leave(folder: &Path, bytes: &[u8]) {
        std::fs::write(folder.join(FILE_NAME), bytes).unwrap();
    }

    #[test]
    fn a_result_reads_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(OwnResult::read(folder.path()), OwnResult::Missing);
        leave(folder.path(), b"");
        assert_eq!(OwnResult::read(folder.path()), OwnResult::Missing);
        let mut outcome = Outcome::failed(FailureReason::ExitCode, "no");
        outcome.details = Some(json!({"web": "broken"}));
        outcome.exit_code = Some(4);
        outcome.changed = true;
        let result = OperationResult::of(outcome.clone());
        result.write(folder.path()).unwrap();
        let whole = std::fs::read(folder.path().join(FILE_NAME)).unwrap();
        let OwnResult::Left(read) = OwnResult::read(folder.path()) else {
            panic!("it is there");
        };
        assert_eq!(read.outcome(), outcome);
        for cut in 0..whole.len() {
            leave(folder.path(), &whole[..cut]);
            assert_eq!(OwnResult::read(folder.path()), OwnResult::Missing, "{cut}");
        }
    }

    #[test]
    fn details_that_are_too_long_are_left_out_and_it_is_said() {
        let mut outcome = Outcome::succeeded(true);
        outcome.details = Some(json!({"x": "y".repeat(DETAILS_BYTES_MAX)}));
        outcome.message = "é".repeat(2 * MESSAGE_CHARS_MAX);
        let result = OperationResult::of(outcome);
        assert_eq!(result.details, None);
        assert!(
            result.message.contains("too long") && result.message.len() < 3 * MESSAGE_CHARS_MAX
        );
        assert!(result.succeeded && result.changed);
    }
}
