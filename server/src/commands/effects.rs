//! What must happen after a commit: wake the dispatcher, tell agents, tell followers. Collected inside the
//! transaction, released by its `after_commit` hook, so that nothing is ever said that is not stored.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{CommandId, HostId, ServerFrame, SetId};
use tokio::sync::mpsc;

use super::live_output::LiveOutput;
use super::notices::Notices;
use crate::db::Tx;
use crate::links::Connections;
use crate::telemetry;

/// A hint to the dispatcher; it reads the database for the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// A set is new, was controlled, or has a free slot.
    Set(SetId),
    /// A host has room or has just connected.
    Host(HostId),
    /// A host should be looked at after this many µs.
    HostLater(HostId, i64),
}

/// Where effects go; cheap to clone.
#[derive(Clone)]
pub(super) struct Outlets {
    pub hints: mpsc::UnboundedSender<Hint>,
    pub notices: Notices,
    pub connections: Connections,
    pub live: LiveOutput,
}

impl Outlets {
    pub fn hint(&self, hint: Hint) {
        // The dispatcher only goes away when the server does.
        let _ = self.hints.send(hint);
    }
}

/// Effects of one transaction.
#[derive(Default)]
pub(super) struct Effects {
    /// Sets whose counters or control changed: followers are told.
    pub changed: BTreeSet<SetId>,
    /// Sets the dispatcher must look at.
    pub wake: BTreeSet<SetId>,
    pub hints: Vec<Hint>,
    /// Commands that are over or wait again: their hosts have room.
    pub resolved: Vec<(HostId, CommandId)>,
    pub frames: Vec<(HostId, ServerFrame)>,
    /// Hosts that spoke of other hosts' commands.
    pub cut: Vec<HostId>,
    /// Commands that have just reached a terminal status: their followers are told.
    pub over: Vec<CommandId>,
    /// The same, counted by that status.
    pub finished: BTreeMap<CommandStatus, u64>,
}

impl Effects {
    /// Arranges for the effects to happen when the transaction is on disk.
    pub fn after_commit(self, tx: &mut Tx<'_>, outlets: &Outlets) {
        let outlets = outlets.clone();
        tx.after_commit(move || self.release(&outlets));
    }

    fn release(self, outlets: &Outlets) {
        for (host_id, frame) in &self.frames {
            outlets.connections.send(*host_id, frame);
        }
        for (host_id, command_id) in self.resolved {
            if outlets.connections.resolve(host_id, command_id) {
                outlets.hint(Hint::Host(host_id));
            }
        }
        for id in self.over {
            outlets.live.finish(id);
        }
        for host_id in self.cut {
            outlets
                .connections
                .cut(host_id, "spoke of another host's command");
        }
        for hint in self.wake.into_iter().map(Hint::Set).chain(self.hints) {
            outlets.hint(hint);
        }
        outlets.notices.changed(self.changed);
        for (status, count) in self.finished {
            telemetry::count_commands_finished(status.as_str(), count);
        }
    }
}
