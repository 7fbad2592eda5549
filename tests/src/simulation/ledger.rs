//! What is true in the simulated world, what the server's rows say, and the promises between the two. Every look at the
//! rows and every start of a script is held against them.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::wire::CommandStatus;
use fleetwright_protocol::{CommandId, HostId, SetId};
use fleetwright_server::db::{Db, Row, RowError, Statement};

/// A promise that was broken, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// A command's row at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSeen {
    pub set_id: SetId,
    pub host_id: HostId,
    pub status: CommandStatus,
    pub reason: Option<String>,
    pub attempt: u32,
    pub slot: bool,
    pub cancel_requested: bool,
    pub sent: bool,
}

/// A set's row at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSeen {
    /// held, queued, running, succeeded, failed, skipped.
    pub counters: [u64; 6],
    pub total: u64,
    pub in_flight: u64,
    pub max_concurrency: u64,
    pub paused: bool,
    pub cancelled: bool,
    pub expires_at_us: i64,
    pub timeout_seconds: i64,
    pub finished: bool,
}

/// One run of one script on one host.
#[derive(Clone, Debug)]
pub struct Start {
    pub attempt: u32,
    pub succeeded: bool,
}

#[derive(Default)]
pub struct Ledger {
    pub rows: BTreeMap<CommandId, RowSeen>,
    pub sets: BTreeMap<SetId, SetSeen>,
    pub starts: BTreeMap<CommandId, Vec<Start>>,
    /// The hosts each set was created for.
    frozen: BTreeMap<SetId, BTreeSet<HostId>>,
    /// The largest limit each set ever had; 0 is none.
    limits: BTreeMap<SetId, u64>,
    /// Sets of which something came so late, or was so lost, that the server had to give up its slot.
    pub loose: BTreeSet<SetId>,
    /// Sets nothing of which may be sent any more, and commands.
    pub cancelled_sets: BTreeSet<SetId>,
    pub cancelled_commands: BTreeSet<CommandId>,
    names: BTreeMap<CommandId, String>,
}

const STATUSES: [CommandStatus; 6] = [
    CommandStatus::Held,
    CommandStatus::Queued,
    CommandStatus::Running,
    CommandStatus::Succeeded,
    CommandStatus::Failed,
    CommandStatus::Skipped,
];

impl Ledger {
    pub fn created(&mut self, id: SetId, hosts: &[HostId], max_concurrency: u64) {
        self.frozen.insert(id, hosts.iter().copied().collect());
        self.limits.insert(id, max_concurrency);
    }

    pub fn limited(&mut self, id: SetId, max_concurrency: u64) {
        if let Some(limit) = self.limits.get_mut(&id) {
            *limit = match (*limit, max_concurrency) {
                (0, _) | (_, 0) => 0,
                (before, now) => before.max(now),
            };
        }
    }

    /// A short name for a command, the same in every run of a seed.
    pub fn name(&mut self, id: CommandId) -> String {
        let next = self.names.len() + 1;
        let name = self.names.entry(id).or_insert_with(|| format!("c{next}"));
        name.clone()
    }

    /// Reads all rows and holds them against what was seen before and against the truth. Returns what has changed.
    pub async fn look(&mut self, db: &Db) -> Result<Vec<String>, Broken> {
        let rows = Statement::new(
            "SELECT id, set_id, host_id, status, reason, attempt, slot, cancel_requested, sent_at \
             FROM commands ORDER BY id",
        );
        let sets = Statement::new(
            "SELECT id, held, queued, running, succeeded, failed, skipped, total, in_flight, max_concurrency, paused, \
             cancel, expires_at, timeout_seconds, finished_at FROM command_sets",
        );
        let answers = db.read_all(vec![rows, sets]).await.expect("it can be read");
        let seen: BTreeMap<CommandId, RowSeen> = answers[0]
            .iter()
            .map(row_seen)
            .collect::<Result<_, _>>()
            .expect("rows have their shape");
        let sets: BTreeMap<SetId, SetSeen> = answers[1]
            .iter()
            .map(set_seen)
            .collect::<Result<_, _>>()
            .expect("sets have their shape");
        let mut changes = Vec::new();
        for (id, row) in &seen {
            if self.rows.get(id) != Some(row) {
                let name = self.name(*id);
                let reason = row.reason.as_deref().unwrap_or("");
                changes.push(format!(
                    "{name}: {:?} {reason} attempt {}{}{}",
                    row.status,
                    row.attempt,
                    if row.sent { " sent" } else { "" },
                    if row.slot { " slot" } else { "" },
                ));
                self.check_row(*id, row)?;
            }
        }
        for (id, set) in &sets {
            self.check_set(*id, set, &seen)?;
        }
        (self.rows, self.sets) = (seen, sets);
        Ok(changes)
    }

    fn check_row(&mut self, id: CommandId, row: &RowSeen) -> Result<(), Broken> {
        let name = self.name(id);
        if let Some(before) = self.rows.get(&id) {
            if before.status.is_terminal()
                && (before.status != row.status || before.reason != row.reason)
            {
                return broken(format!("{name} was {before:?} and is {row:?} (I4)"));
            }
            if row.attempt < before.attempt {
                return broken(format!("{name} went back to attempt {} (I5)", row.attempt));
            }
        }
        if !self.frozen[&row.set_id].contains(&row.host_id) {
            return broken(format!("{name} is for a host outside its set (I7)"));
        }
        let starts = self.starts.get(&id).map_or(&[][..], Vec::as_slice);
        let succeeded = |start: &Start| start.succeeded && start.attempt == row.attempt;
        if row.status == CommandStatus::Succeeded && !starts.iter().any(succeeded) {
            return broken(format!(
                "{name} is succeeded, and no run of it was: {starts:?}"
            ));
        }
        if row.status == CommandStatus::Skipped && !starts.is_empty() {
            return broken(format!(
                "{name} is skipped ({:?}), and it ran: {starts:?}",
                row.reason
            ));
        }
        Ok(())
    }

    fn check_set(
        &self,
        id: SetId,
        set: &SetSeen,
        rows: &BTreeMap<CommandId, RowSeen>,
    ) -> Result<(), Broken> {
        let mut counted = [0; 6];
        let mut slots = 0;
        for row in rows.values().filter(|row| row.set_id == id) {
            let at = STATUSES.iter().position(|status| *status == row.status);
            counted[at.expect("every status is listed")] += 1;
            slots += u64::from(row.slot);
        }
        if counted != set.counters || counted.iter().sum::<u64>() != set.total {
            return broken(format!(
                "the counters of {id} are {set:?}, its rows {counted:?}"
            ));
        }
        if slots != set.in_flight {
            let held = set.in_flight;
            return broken(format!("{id} counts {held} slots, its rows hold {slots}"));
        }
        let over = counted[..3].iter().sum::<u64>() == 0;
        if over != set.finished {
            return broken(format!(
                "{id} is finished: {}, its rows: {over}",
                set.finished
            ));
        }
        match self.sets.get(&id) {
            Some(before) if before.finished && before.counters != set.counters => broken(format!(
                "the counters of {id} moved after its end: {before:?} {set:?} (I4)"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A `command` frame leaves the server for a host.
    pub fn sent(
        &mut self,
        id: CommandId,
        attempt: u32,
        host: HostId,
        now_us: i64,
    ) -> Result<(), Broken> {
        let name = self.name(id);
        let Some(row) = self.rows.get(&id).cloned() else {
            return broken(format!("{name} was sent before it was stored"));
        };
        if row.host_id != host {
            return broken(format!("{name} was sent to another host (I7)"));
        }
        if self.cancelled_commands.contains(&id) || self.cancelled_sets.contains(&row.set_id) {
            return broken(format!(
                "{name} was sent after its cancel was acknowledged (I8)"
            ));
        }
        let set = &self.sets[&row.set_id];
        if set.paused || set.cancelled || now_us >= set.expires_at_us {
            return broken(format!("{name} was sent though its set is {set:?}"));
        }
        if row.attempt != attempt || !row.sent || !row.slot {
            return broken(format!(
                "attempt {attempt} of {name} was sent, stored is {row:?}"
            ));
        }
        if set.max_concurrency > 0 && set.in_flight > set.max_concurrency {
            return broken(format!("{name} was sent over the limit: {set:?} (I6)"));
        }
        Ok(())
    }

    /// A script starts. `running` are the commands that truly run then, on any host, with this one.
    pub fn started(
        &mut self,
        id: CommandId,
        attempt: u32,
        host: HostId,
        running: &[CommandId],
    ) -> Result<(), Broken> {
        let name = self.name(id);
        let starts = self.starts.entry(id).or_default();
        starts.push(Start {
            attempt,
            succeeded: false,
        });
        if starts.len() > 1 {
            return broken(format!("{name} started twice: {starts:?} (I2)"));
        }
        let Some(row) = self.rows.get(&id) else {
            return broken(format!("{name} started and is not stored"));
        };
        if row.host_id != host {
            return broken(format!("{name} started on another host (I7)"));
        }
        if row.status == CommandStatus::Skipped {
            return broken(format!("{name} started after it was skipped: {row:?}"));
        }
        if attempt < row.attempt {
            return broken(format!(
                "attempt {attempt} of {name} started, stored is {row:?} (I2)"
            ));
        }
        let (set_id, limit) = (row.set_id, self.limits[&row.set_id]);
        let of_set = |other: &&CommandId| self.rows[*other].set_id == set_id;
        let at_once = running.iter().filter(of_set).count() as u64;
        if limit > 0 && at_once > limit && !self.loose.contains(&set_id) {
            return broken(format!(
                "{at_once} of a set run at once, allowed are {limit} (I6)"
            ));
        }
        Ok(())
    }

    pub fn ended_well(&mut self, id: CommandId, attempt: u32) {
        let starts = self.starts.entry(id).or_default();
        for start in starts.iter_mut().filter(|start| start.attempt == attempt) {
            start.succeeded = true;
        }
    }

    pub fn all_over(&self) -> bool {
        self.rows.values().all(|row| row.status.is_terminal())
    }

    /// When the last row must be terminal, by the server's clock.
    pub fn last_due_us(&self) -> i64 {
        let due = |set: &SetSeen| set.expires_at_us + (set.timeout_seconds + 120) * 1_000_000;
        self.sets.values().map(due).max().unwrap_or(0)
    }
}

pub fn broken<T>(what: String) -> Result<T, Broken> {
    Err(Broken(what))
}

fn row_seen(row: Row<'_>) -> Result<(CommandId, RowSeen), RowError> {
    let seen = RowSeen {
        set_id: row.id("set_id")?,
        host_id: row.id("host_id")?,
        status: row.word("status", "a status", CommandStatus::from_name)?,
        reason: row.optional_text("reason")?.map(str::to_owned),
        attempt: row.integer("attempt")? as u32,
        slot: row.flag("slot")?,
        cancel_requested: row.flag("cancel_requested")?,
        sent: row.optional_integer("sent_at")?.is_some(),
    };
    Ok((row.id("id")?, seen))
}

fn set_seen(row: Row<'_>) -> Result<(SetId, SetSeen), RowError> {
    let seen = SetSeen {
        counters: [
            row.count("held")?,
            row.count("queued")?,
            row.count("running")?,
            row.count("succeeded")?,
            row.count("failed")?,
            row.count("skipped")?,
        ],
        total: row.count("total")?,
        in_flight: row.count("in_flight")?,
        max_concurrency: row.count("max_concurrency")?,
        paused: row.flag("paused")?,
        cancelled: row.text("cancel")? != "none",
        expires_at_us: row.integer("expires_at")?,
        timeout_seconds: row.integer("timeout_seconds")?,
        finished: row.optional_integer("finished_at")?.is_some(),
    };
    Ok((row.id("id")?, seen))
}
