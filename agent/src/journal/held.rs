//! How much a server has made this agent keep: what ended and was not acknowledged, and cancels of commands that never came.
//! Counted as entries change, because it is asked with every command. Pure.

use std::collections::BTreeSet;

use fleetwright_protocol::{CommandId, Outcome, OutputSummary};

/// Commands whose ends were not acknowledged, or have not come. A server acknowledges within seconds; what a host may hold
/// in `hello` is far below a frame.
const OPEN_MAX: usize = 2_000;
/// Of what those ends say, some hundred with all the output that a result may hold itself.
const OPEN_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Of their output in the folders of their runs, at most 4 MiB each.
const OUTPUT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Cancels that overtook their commands: an honest server has one now and then.
const UNSEEN_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    open: usize,
    open_bytes: u64,
    output_bytes: u64,
    /// By expiry.
    unseen: BTreeSet<(u64, CommandId)>,
}

/// One command's part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub open: bool,
    /// In memory and in the journal.
    pub bytes: u64,
    /// In the folder of the run.
    pub output_bytes: u64,
    /// Of a cancel whose command never came.
    pub unseen_until_unix_ms: Option<u64>,
}

impl Held {
    /// Whether nothing more is taken on until some of it is acknowledged.
    pub fn is_full(&self) -> bool {
        self.open >= OPEN_MAX
            || self.open_bytes >= OPEN_BYTES_MAX
            || self.output_bytes >= OUTPUT_BYTES_MAX
    }

    pub(super) fn add(&mut self, command_id: CommandId, share: &Share) {
        self.open = self.open.saturating_add(usize::from(share.open));
        self.open_bytes = self.open_bytes.saturating_add(share.bytes);
        self.output_bytes = self.output_bytes.saturating_add(share.output_bytes);
        if let Some(expires_unix_ms) = share.unseen_until_unix_ms {
            self.unseen.insert((expires_unix_ms, command_id));
        }
    }

    /// What was added for it before.
    pub(super) fn remove(&mut self, command_id: CommandId, share: &Share) {
        self.open = self.open.saturating_sub(usize::from(share.open));
        self.open_bytes = self.open_bytes.saturating_sub(share.bytes);
        self.output_bytes = self.output_bytes.saturating_sub(share.output_bytes);
        if let Some(expires_unix_ms) = share.unseen_until_unix_ms {
            self.unseen.remove(&(expires_unix_ms, command_id));
        }
    }

    /// The first cancel to be forgotten, if there are too many.
    pub(super) fn excess_cancel(&self) -> Option<CommandId> {
        let too_many = self.unseen.len() > UNSEEN_MAX;
        self.unseen
            .first()
            .filter(|_| too_many)
            .map(|(_, command_id)| *command_id)
    }
}

impl Share {
    /// Of an end that was not acknowledged.
    pub(super) fn of_outcome(outcome: &Outcome) -> Self {
        let details = outcome.details.as_ref();
        let details = details.map_or(0, |details| details.to_string().len());
        let streams = [&outcome.stdout, &outcome.stderr];
        let heads: usize = streams.iter().map(|summary| summary.head.len()).sum();
        let in_parts = |summary: &&OutputSummary| {
            let parts = summary.head_bytes.saturating_add(summary.tail_bytes);
            if summary.in_parts { parts } else { 0 }
        };
        Self {
            open: true,
            bytes: (outcome.message.len() + details + heads) as u64,
            output_bytes: streams.iter().map(in_parts).fold(0, u64::saturating_add),
            unseen_until_unix_ms: None,
        }
    }
}
