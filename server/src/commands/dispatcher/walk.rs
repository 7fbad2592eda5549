//! One step of one set: give the next chunk of hosts its rows, work off a cancel or an expiry, or send the next chunk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fleetwright_protocol::{CommandId, SetId};

use super::send::{Payloads, Pick, TimeLimits};
use super::{Dispatcher, SetWork, Step};
use crate::clock::Now;
use crate::commands::control::{cancel_rows, change_rows, give_up_rows};
use crate::commands::decide;
use crate::commands::effects::Effects;
use crate::commands::materialise::{self, Chunk, Frozen, Offer};
use crate::commands::store::reads::{self, Waiting};
use crate::commands::store::sets::{self, CancelMode, SetRow};
use crate::commands::store::{self};
use crate::db::DbError;

/// Rows looked at, settled or sent in one step.
const CHUNK: u32 = 500;

/// What a step did for the set's rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// They all exist already.
    None,
    /// Some are new and have not been looked at.
    Rows,
    /// Some are new, and who could be sent his has been.
    Sent,
}

impl Dispatcher {
    pub(super) async fn step_set(&mut self, id: SetId) -> Result<Step, DbError> {
        let Some(set) = self.read_set(id).await? else {
            return Ok(Step::Over);
        };
        if set.view.is_finished() && set.materialised >= set.view.total {
            return Ok(Step::Over);
        }
        self.prepare(&set).await?;
        let now = self.commands.now();
        let growth = self.materialise(&set).await?;
        if growth == Growth::Sent {
            return Ok(Step::More);
        }
        let materialising = self.work.get(&id).is_some_and(|work| work.frozen.is_some());
        let cancelled = set.cancel != CancelMode::None;
        let expired = now.lease_us >= set.view.expires_at_us;
        let given_up = self.give_up(&set, now).await?;
        let step = if given_up == Step::More {
            Step::More
        } else if cancelled || expired {
            self.settle(&set, cancelled, now).await?
        } else if set.view.paused {
            Step::Rest
        } else {
            self.walk(&set, materialising).await?
        };
        Ok(match growth {
            // The rows just made may be all there is to do: the set is looked at once more.
            Growth::Rows | Growth::Sent => Step::More,
            Growth::None => step,
        })
    }

    pub(super) async fn read_set(&self, id: SetId) -> Result<Option<SetRow>, DbError> {
        let db = self.commands.db();
        let rows = db.read(sets::select(db.dialect(), &[id])).await?;
        Ok(rows.first().map(sets::set_row).transpose()?)
    }

    /// Makes sure the set's work is remembered, and starts it over if the set was controlled meanwhile.
    pub(super) async fn prepare(&mut self, set: &SetRow) -> Result<(), DbError> {
        let id = set.view.id;
        if let Some(work) = self.work.get_mut(&id) {
            if work.generation != set.view.generation {
                work.generation = set.view.generation;
                work.cursor = 0;
                work.settle_cursor = Some(0);
            }
            return Ok(());
        }
        let mut frozen = None;
        if set.materialised < set.view.total {
            let rows = self.commands.db().read(sets::select_contents(id)).await?;
            let row = rows
                .first()
                .ok_or_else(|| DbError::Statement(format!("set {id} has no contents")))?;
            frozen = Some(Frozen::new(&sets::contents(row)?));
        }
        let work = SetWork {
            frozen,
            cursor: 0,
            rescan: false,
            generation: set.view.generation,
            settle_cursor: Some(0),
            expiring: false,
            given_up_below: 0,
        };
        self.work.insert(id, work);
        Ok(())
    }

    /// Gives the next chunk of hosts its rows. Whoever can take his command at once has it sent with its birth.
    async fn materialise(&mut self, set: &SetRow) -> Result<Growth, DbError> {
        let id = set.view.id;
        let lease_us = self.commands.now().lease_us;
        let Some(work) = self.work.get_mut(&id) else {
            return Ok(Growth::None);
        };
        let Some(frozen) = work.frozen.take() else {
            return Ok(Growth::None);
        };
        // What waits before comes first.
        let in_order = work.cursor >= set.materialised;
        let (picks, looked_at) = match in_order && !set.born_held && set.may_send(lease_us) {
            true => self.pick_unborn(set, &frozen),
            false => (Vec::new(), None),
        };
        let mut operations = HashMap::new();
        let born = self.bear(id, frozen, &picks, &mut operations).await;
        let (sent, outcome) = match born {
            Ok((chunk, frozen)) => (chunk.sent, Ok((chunk.materialised, frozen))),
            Err(error) => (BTreeSet::new(), Err(error)),
        };
        let sent = sent
            .into_iter()
            .map(|id| (id, TimeLimits::of(set)))
            .collect();
        self.hand_out(picks, &operations, &sent, lease_us);
        let (materialised, frozen) = outcome?;
        if let Some(work) = self.work.get_mut(&id) {
            work.frozen = (materialised < set.view.total).then_some(frozen);
            work.cursor = looked_at.unwrap_or(work.cursor);
        }
        Ok(match looked_at {
            Some(_) => Growth::Sent,
            None => Growth::Rows,
        })
    }

    /// Takes room for the next hosts that are to have rows, as far as there are slots. Also where that ends in the set's
    /// order.
    fn pick_unborn(&self, set: &SetRow, frozen: &Frozen) -> (Vec<Pick>, Option<u64>) {
        let slots = slots(set);
        let mut picks = Vec::new();
        let mut looked_at = set.materialised;
        for (ordinal, host_id) in frozen.chunk(set.materialised) {
            if picks.len() as u64 == slots {
                break;
            }
            looked_at = ordinal + 1;
            if ordinal < set.view.given_up_below || frozen.skips.contains_key(&ordinal) {
                continue;
            }
            picks.extend(self.pick(Waiting {
                id: CommandId(self.commands.new_id()),
                set_id: set.view.id,
                host_id,
                ordinal,
                attempt: 1,
            }));
        }
        (picks, Some(looked_at))
    }

    async fn bear(
        &mut self,
        id: SetId,
        frozen: Frozen,
        picks: &[Pick],
        operations: &mut Payloads,
    ) -> Result<(Chunk, Frozen), DbError> {
        self.load_operations(picks, operations).await?;
        let offer = |pick: &Pick| {
            let offer = Offer {
                id: pick.command.id,
                connection: Arc::clone(&pick.connection),
            };
            (pick.command.ordinal, offer)
        };
        // Nobody's row is born as sent who cannot be written to.
        let ready = picks.iter().filter(|_| operations.contains_key(&id));
        let offers: BTreeMap<u64, Offer> = ready.map(offer).collect();
        let commands = self.commands.clone();
        let born = self.commands.db().write(move |tx| {
            let chunk = materialise::chunk_in(tx, &commands, id, &frozen, &offers)?;
            Ok::<_, DbError>((chunk, frozen))
        });
        born.await
    }

    /// Works off a chunk of a cancelled or expired set.
    async fn settle(&mut self, set: &SetRow, cancelled: bool, now: Now) -> Result<Step, DbError> {
        let id = set.view.id;
        let Some(work) = self.work.get_mut(&id) else {
            return Ok(Step::Rest);
        };
        if !cancelled && !work.expiring {
            work.expiring = true;
            work.settle_cursor = Some(0);
        }
        let Some(cursor) = work.settle_cursor else {
            return Ok(Step::Rest);
        };
        let kill = set.cancel == CancelMode::Kill;
        let commands = self.commands.clone();
        let next = self
            .commands
            .db()
            .write(move |tx| {
                let rows = store::load_uncancelled(tx, id, cursor, CHUNK)?;
                let full = rows.len() == CHUNK as usize;
                let next = rows.last().filter(|_| full).map(|row| row.ordinal + 1);
                let mut effects = Effects::default();
                if cancelled {
                    cancel_rows(tx, rows, kill, now, &mut effects)?;
                } else {
                    change_rows(tx, rows, now, &mut effects, |row, _| {
                        decide::on_expired(&mut row.state, now);
                    })?;
                }
                effects.after_commit(tx, commands.outlets());
                Ok::<_, DbError>(next)
            })
            .await?;
        if let Some(work) = self.work.get_mut(&id) {
            work.settle_cursor = next;
        }
        Ok(if next.is_some() {
            Step::More
        } else {
            Step::Rest
        })
    }

    /// Works off a chunk of the hosts that have had their time to start.
    async fn give_up(&mut self, set: &SetRow, now: Now) -> Result<Step, DbError> {
        let (id, below) = (set.view.id, set.view.given_up_below);
        let from = self.work.get(&id).map_or(below, |work| work.given_up_below);
        if from >= below {
            return Ok(Step::Rest);
        }
        let commands = self.commands.clone();
        let done = self
            .commands
            .db()
            .write(move |tx| {
                let rows = store::load_queued_range(tx, id, from, below, CHUNK)?;
                let full = rows.len() == CHUNK as usize;
                let last = rows.last().filter(|_| full).map(|row| row.ordinal + 1);
                let mut effects = Effects::default();
                give_up_rows(tx, rows, now, &mut effects)?;
                effects.after_commit(tx, commands.outlets());
                Ok::<_, DbError>(last.unwrap_or(below))
            })
            .await?;
        if let Some(work) = self.work.get_mut(&id) {
            work.given_up_below = done;
        }
        Ok(if done < below { Step::More } else { Step::Rest })
    }

    /// Sends the next chunk, as far as hosts and slots allow.
    async fn walk(&mut self, set: &SetRow, materialising: bool) -> Result<Step, DbError> {
        let id = set.view.id;
        let slots = slots(set);
        let Some(work) = self.work.get(&id) else {
            return Ok(Step::Rest);
        };
        if slots == 0 {
            return Ok(Step::Rest);
        }
        let cursor = work.cursor.max(set.view.given_up_below);
        let rows = self
            .commands
            .db()
            .read_many(reads::waiting_of_set(id, cursor, CHUNK), &reads::WAITING)
            .await?;
        let waiting: Vec<Waiting> = rows.iter().map(reads::waiting).collect::<Result<_, _>>()?;
        let mut picks = Vec::new();
        let mut next_cursor = cursor;
        for command in &waiting {
            if picks.len() as u64 == slots {
                break;
            }
            next_cursor = command.ordinal + 1;
            picks.extend(self.pick(*command));
        }
        let out_of_slots = picks.len() as u64 == slots;
        self.send(picks).await?;
        let Some(work) = self.work.get_mut(&id) else {
            return Ok(Step::Rest);
        };
        work.cursor = next_cursor;
        let walked_all = waiting.last().is_none_or(|last| next_cursor > last.ordinal);
        if out_of_slots && set.view.max_concurrency > 0 {
            return Ok(Step::Rest);
        }
        if !walked_all || waiting.len() == CHUNK as usize {
            return Ok(Step::More);
        }
        // Of the rows there were, none behind these waits: the next to be born may be sent at once.
        work.cursor = next_cursor.max(set.materialised);
        if work.rescan && !materialising {
            work.rescan = false;
            work.cursor = 0;
            return Ok(if cursor > 0 { Step::More } else { Step::Rest });
        }
        Ok(Step::Rest)
    }
}

/// How many more of the set may be sent in one step.
fn slots(set: &SetRow) -> u64 {
    set.free_slots().min(u64::from(CHUNK))
}
