//! How far a plan has come: what the entries of its log add up to. Pure.

use fleetwright_protocol::Outcome;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operations::deploy_file::undo::{Change, Undo};

/// Of one step's own details: a hundred packages with a sentence each. More would make logs of a thousand steps large.
const STEP_DETAILS_BYTES_MAX: usize = 16 * 1024;

/// One thing that has happened, as it stands in the log. `step` counts from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum LogEntry {
    /// A runner has begun or gone on.
    Opened,
    /// It is not run, because its condition does not hold.
    Skipped {
        step: usize,
        why: String,
    },
    /// Written before anything of the step is done.
    Begun {
        step: usize,
        boot_id: String,
    },
    /// What is there, right before the step puts a file in its place, or makes folders for it; the copy is on disk.
    Saved {
        step: usize,
        undo: Undo,
        /// Absent from what an older agent has written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        change: Option<Change>,
    },
    /// The machine has been told to go.
    Told {
        step: usize,
    },
    Ended {
        step: usize,
        result: Box<StepResult>,
    },
    /// `saved` counts from 0 in the order of the `Saved` entries.
    Restored {
        saved: usize,
        trouble: Option<String>,
    },
    Checked {
        result: Box<CheckResult>,
    },
    /// The run was ended from outside; nothing but a rollback follows.
    Cut {
        reason: FailureReason,
        message: String,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    pub succeeded: bool,
    pub reason: Option<FailureReason>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// In a dry run, whether it would.
    pub changed: bool,
    pub message: String,
    pub duration_ms: u64,
    pub details: Option<Value>,
    /// The last bytes of its output, as text.
    pub stdout_tail: String,
    pub stderr_tail: String,
}

/// How a health check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    pub passed: bool,
    pub tries: u64,
    /// Of the last try.
    pub exit_code: Option<i32>,
    pub message: String,
    pub duration_ms: u64,
    pub output_tail: String,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    Waiting,
    Skipped { why: String },
    Begun { boot_id: String, told: bool },
    Ended(Box<StepResult>),
}

/// A file that can be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFile {
    pub step: usize,
    pub undo: Undo,
    pub change: Option<Change>,
    /// `Some(None)` once it is what it was; with words if that went wrong.
    pub restored: Option<Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProgress {
    pub steps: Vec<StepState>,
    pub saved: Vec<SavedFile>,
    pub check: Option<Box<CheckResult>>,
    pub cut: Option<(FailureReason, String)>,
}

impl SavedFile {
    /// Not of the folders that were made for one.
    pub fn is_of_a_file(&self) -> bool {
        let change = self.change.as_ref();
        change.is_none_or(|change| change.written.is_some())
    }
}

impl StepResult {
    /// Without output.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            succeeded: outcome.status == OutcomeStatus::Succeeded,
            reason: outcome.reason,
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            changed: outcome.changed,
            message: outcome.message,
            duration_ms: outcome.duration_ms,
            details: outcome
                .details
                .filter(|details| details.to_string().len() <= STEP_DETAILS_BYTES_MAX),
            stdout_tail: String::new(),
            stderr_tail: String::new(),
        }
    }
}

impl PlanProgress {
    /// Of a plan of so many steps that has not begun.
    pub fn new(steps: usize) -> Self {
        Self {
            steps: vec![StepState::Waiting; steps],
            saved: Vec::new(),
            check: None,
            cut: None,
        }
    }

    /// What these entries add up to.
    pub fn of(steps: usize, entries: &[LogEntry]) -> Self {
        let mut progress = Self::new(steps);
        for entry in entries {
            progress.apply(entry);
        }
        progress
    }

    /// Takes one entry in. One about a step that there is not says nothing.
    pub fn apply(&mut self, entry: &LogEntry) {
        match entry {
            LogEntry::Opened => {}
            LogEntry::Skipped { step, why } => {
                self.set(*step, StepState::Skipped { why: why.clone() });
            }
            LogEntry::Begun { step, boot_id } => {
                let boot_id = boot_id.clone();
                let told = false;
                self.set(*step, StepState::Begun { boot_id, told });
            }
            LogEntry::Saved { step, undo, change } => self.saved.push(SavedFile {
                step: *step,
                undo: undo.clone(),
                change: change.clone(),
                restored: None,
            }),
            LogEntry::Told { step } => {
                if let Some(StepState::Begun { told, .. }) = self.steps.get_mut(*step) {
                    *told = true;
                }
            }
            LogEntry::Ended { step, result } => self.set(*step, StepState::Ended(result.clone())),
            LogEntry::Restored { saved, trouble } => {
                if let Some(saved) = self.saved.get_mut(*saved) {
                    saved.restored = Some(trouble.clone());
                }
            }
            LogEntry::Checked { result } => self.check = Some(result.clone()),
            LogEntry::Cut { reason, message } => self.cut = Some((*reason, message.clone())),
        }
    }

    /// The step that was begun and has not ended.
    pub fn under_way(&self) -> Option<usize> {
        let begun = |standing: &StepState| matches!(standing, StepState::Begun { .. });
        self.steps.iter().position(begun)
    }

    /// How this step ended, if it was run.
    pub fn ended(&self, step: usize) -> Option<&StepResult> {
        match self.steps.get(step)? {
            StepState::Ended(result) => Some(result),
            StepState::Waiting | StepState::Skipped { .. } | StepState::Begun { .. } => None,
        }
    }

    /// Whether something has been put back since in the place of this file: it is another file then, with what was in it.
    pub fn is_put_back_after(&self, saved: usize) -> bool {
        let Some(file) = self.saved.get(saved) else {
            return false;
        };
        let mut later = self.saved.iter().skip(saved + 1);
        later.any(|later| later.undo.path() == file.undo.path() && later.restored == Some(None))
    }

    fn set(&mut self, step: usize, standing: StepState) {
        if let Some(slot) = self.steps.get_mut(step) {
            *slot = standing;
        }
    }
}
