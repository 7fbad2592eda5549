//! The interfaces of a server, answered from [`TestState`](super::TestState).

use std::sync::Arc;

use abi_stable::std_types::{RResult, RStr, RString, RVec};
use async_ffi::{FfiFuture, FutureExt as _};
use fleetwright_protocol::{CommandId, HostId, SetId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::operator;
use super::state::{Shared, TestState};
use crate::abi::{
    AbiError, AbiPayload, AbiRequest, AbiResponse, AbiStatement, AbiTable, CallApi, CapacityApi,
    ClockApi, Ctx, DbApi, FeaturesApi, HostsApi, IdentityApi, LogApi, LogRecord, Op, SetsApi,
    SignalsApi, error_code, op_kind,
};
use crate::sdk::{
    CallContext, CallError, CapacityChanges, CommandPage, FeatureState, HostChange, HostChanges,
    Payload, ServerError, SetAction, SetControl, SetCreate, SetPreview, SetView,
};
use crate::wire::{CommandQuery, CommandStatus};

type Answer<T> = FfiFuture<RResult<T, AbiError>>;

#[derive(Clone)]
pub(super) struct Fake(pub(super) Arc<Shared>);

impl LogApi for Fake {
    fn max_level(&self) -> u32 {
        0
    }

    fn log(&self, _record: LogRecord) {}
}

impl ClockApi for Fake {
    fn now_us(&self) -> i64 {
        let state = self.0.state();
        state.now_us.saturating_add(state.wall_set_by_us)
    }

    fn lease_us(&self) -> i64 {
        self.0.state().now_us
    }
}

impl FeaturesApi for Fake {
    fn state(&self, feature: RStr<'_>) -> RVec<u8> {
        let reason = self
            .0
            .state()
            .refused_features
            .get(feature.as_str())
            .cloned();
        let state = FeatureState {
            feature: feature.to_string(),
            new_work: reason.is_none(),
            reason,
        };
        serde_json::to_vec(&state).unwrap_or_default().into()
    }
}

impl SignalsApi for Fake {
    fn wait(&self, _keys: RVec<RString>, since: u64) -> FfiFuture<u64> {
        let mut generation = self.0.generation.subscribe();
        async move {
            let newer = generation.wait_for(|generation| *generation > since).await;
            // The sender lives in the state that this future's caller holds.
            newer.map_or(since, |generation| *generation)
        }
        .into_ffi()
    }

    fn publish(&self, key: RString) {
        self.0.state().signals.push(key.into());
        self.0.generation.send_modify(|generation| *generation += 1);
    }
}

impl CapacityApi for Fake {
    fn changes(&self, after: u64, limit: u32) -> Answer<AbiPayload> {
        let state = self.0.state();
        // As in the server: a sequence that this life has not reached is another one's.
        let after = if after > state.capacity_sequence {
            0
        } else {
            after
        };
        let mut newer: Vec<_> = state
            .capacity
            .values()
            .filter(|(sequence, _)| *sequence > after)
            .cloned()
            .collect();
        newer.sort_by_key(|(sequence, _)| *sequence);
        let more = newer.len() > limit as usize;
        newer.truncate(limit as usize);
        ready(&Ok(CapacityChanges {
            epoch: state.capacity_epoch,
            sequence: newer.last().map_or(after, |(sequence, _)| *sequence),
            more,
            nodes: newer.into_iter().map(|(_, node)| node).collect(),
        }))
    }
}

impl HostsApi for Fake {
    fn revision(&self) -> i64 {
        self.0.state().hosts_revision
    }

    fn changes(&self, after_revision: i64, limit: u32) -> Answer<AbiPayload> {
        let state = self.0.state();
        let upserts = state
            .hosts
            .values()
            .map(|host| (host.revision, HostChange::Upsert(Box::new(host.clone()))));
        let deletes = state.deleted_hosts.iter().map(|(id, revision)| {
            (
                *revision,
                HostChange::Deleted {
                    id: *id,
                    revision: *revision,
                },
            )
        });
        let mut changes: Vec<_> = upserts
            .chain(deletes)
            .filter(|(revision, _)| *revision > after_revision)
            .collect();
        changes.sort_by_key(|(revision, _)| *revision);
        let at_end = changes.len() <= limit as usize;
        changes.truncate(limit as usize);
        let revision = changes
            .last()
            .map_or(after_revision, |(revision, _)| *revision);
        let changes = changes.into_iter().map(|(_, change)| change).collect();
        ready(&Ok(HostChanges {
            changes,
            revision,
            at_end,
        }))
    }

    fn last_seen(&self) -> Answer<AbiPayload> {
        let blob: Vec<u8> = self
            .0
            .state()
            .last_seen_us
            .iter()
            .flat_map(|(id, time)| id.as_bytes().iter().copied().chain(time.to_le_bytes()))
            .collect();
        let payload = AbiPayload {
            blob: blob.into(),
            ..AbiPayload::default()
        };
        async move { RResult::ROk(payload) }.into_ffi()
    }
}

impl SetsApi for Fake {
    fn get(&self, ids: RVec<u8>) -> Answer<AbiPayload> {
        let state = self.0.state();
        let ids = ids.as_slice().chunks(16).filter_map(SetId::from_slice);
        let views: Vec<SetView> = ids.filter_map(|id| state.sets.get(&id).cloned()).collect();
        ready(&Ok(views))
    }

    fn commands(&self, query: RVec<u8>) -> Answer<AbiPayload> {
        ready(&parse::<CommandQuery>(&query).map(|query| {
            let mut state = self.0.state();
            state.commands_asked += 1;
            let rows = state
                .commands
                .get(&query.set_id)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let mut items: Vec<_> = rows
                .iter()
                .filter(|row| {
                    row.ordinal >= query.cursor
                        && query
                            .status
                            .is_none_or(|status| is_found(row.status, status))
                        && (query.hosts.is_empty() || query.hosts.contains(&row.host_id))
                })
                .take(query.limit as usize + 1)
                .cloned()
                .collect();
            let more = items.len() > query.limit as usize;
            let next_cursor = if more {
                items.pop().map(|row| row.ordinal)
            } else {
                None
            };
            CommandPage { items, next_cursor }
        }))
    }

    fn command_of_host(&self, set_id: RVec<u8>, host_id: RVec<u8>) -> Answer<AbiPayload> {
        let mut state = self.0.state();
        state.commands_asked += 1;
        let rows = SetId::from_slice(&set_id).and_then(|id| state.commands.get(&id));
        let host = HostId::from_slice(&host_id);
        ready(&Ok(rows.and_then(|rows| {
            rows.iter().find(|row| Some(row.host_id) == host).cloned()
        })))
    }

    fn output(&self, command_id: RVec<u8>) -> Answer<AbiPayload> {
        let state = self.0.state();
        ready(&Ok(
            CommandId::from_slice(&command_id).and_then(|id| state.outputs.get(&id).cloned())
        ))
    }

    fn preview(&self, create: RVec<u8>, hosts: RVec<u8>) -> Answer<AbiPayload> {
        ready(&parse::<SetCreate>(&create).map(|_| {
            let hosts = host_ids(&hosts);
            SetPreview {
                total: hosts.len() as u64,
                skips: skips(&self.0.state(), &hosts),
            }
        }))
    }
}

impl CallApi for Fake {
    fn invoke(
        &self,
        ctx: Ctx,
        module: RString,
        method: RString,
        payload: AbiPayload,
    ) -> Answer<AbiPayload> {
        let methods = self
            .0
            .methods
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let answer = match methods.get(&(module.to_string(), method.to_string())) {
            None => Err(CallError::Unavailable {
                feature: String::new(),
                module: module.into(),
                reason: "module_not_installed".to_owned(),
            }),
            Some(answer) => Payload::try_from(payload)
                .map_err(CallError::from)
                .and_then(|payload| answer(CallContext::from(&ctx), payload)),
        };
        let answer = answer.map(AbiPayload::from).map_err(AbiError::from);
        async move { answer.into() }.into_ffi()
    }

    fn route(&self, _request: AbiRequest) -> Answer<AbiResponse> {
        let error = AbiError::new(error_code::NOT_FOUND, "a test host has no routes");
        async move { RResult::RErr(error) }.into_ffi()
    }
}

impl IdentityApi for Fake {
    fn acting(&self, principal: RString, _method: RString, _path: RString) -> Answer<AbiPayload> {
        let revoked = self.0.state().revoked.contains(principal.as_str());
        ready(&Ok((!revoked).then(|| CallContext {
            principal: principal.into(),
            ..operator()
        })))
    }
}

impl DbApi for Fake {
    fn dialect(&self) -> u32 {
        self.0.sql.as_ref().map_or(1, |sql| sql.dialect())
    }

    fn read(&self, statements: RVec<AbiStatement>) -> Answer<RVec<AbiTable>> {
        let sql = self.0.sql.clone();
        async move {
            let tables = match sql {
                Some(sql) => sql.read(statements.into()).await,
                None => Err(ServerError::Unavailable(
                    "this test host has no database".to_owned(),
                )),
            };
            tables.map(RVec::from).map_err(AbiError::from).into()
        }
        .into_ffi()
    }

    fn commit(&self, _ctx: Ctx, ops: RVec<Op>) -> Answer<()> {
        let fake = self.clone();
        async move {
            fake.commit_all(ops.into())
                .await
                .map_err(AbiError::from)
                .into()
        }
        .into_ffi()
    }
}

impl Fake {
    /// The SQL first, in its own transaction; the fakes' part only once that stands.
    async fn commit_all(&self, ops: Vec<Op>) -> Result<(), ServerError> {
        let (sql, rest): (Vec<_>, Vec<_>) = ops
            .into_iter()
            .enumerate()
            .partition(|(_, op)| matches!(op.kind, op_kind::SQL | op_kind::SQL_ROWS));
        check_guards(&mut self.0.state(), &rest)?;
        if !sql.is_empty() {
            let backend = self.0.sql.clone();
            let backend = backend.ok_or_else(|| {
                ServerError::Unavailable("this test host has no database".to_owned())
            })?;
            backend.commit(sql).await?;
        }
        let mut state = self.0.state();
        for (_, op) in rest {
            apply(&mut state, &op)?;
        }
        drop(state);
        self.0.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }
}

fn check_guards(state: &mut TestState, ops: &[(usize, Op)]) -> Result<(), ServerError> {
    for (op_index, op) in ops {
        if op.kind == op_kind::SET_CONTROL {
            let control: SetControl = parse(&op.json)?;
            let is_of_hosts = matches!(control.action, SetAction::Cancel { hosts: Some(_), .. });
            if is_of_hosts && state.unready_controls > 0 {
                state.unready_controls -= 1;
                return Err(ServerError::Unavailable(
                    "rows are still written".to_owned(),
                ));
            }
            let set = state
                .sets
                .get(&control.set_id)
                .ok_or_else(|| ServerError::NotFound("no such set".to_owned()))?;
            if control
                .expect_generation
                .is_some_and(|expected| expected != set.generation)
            {
                return Err(ServerError::Guard {
                    op_index: *op_index,
                    affected: 0,
                });
            }
        }
    }
    Ok(())
}

fn apply(state: &mut TestState, op: &Op) -> Result<(), ServerError> {
    match op.kind {
        op_kind::SET_CREATE => {
            let create: SetCreate = parse(&op.json)?;
            let hosts = host_ids(&op.blob);
            let view = new_set(state, &create, &hosts);
            state.sets.insert(create.set_id, view);
            state.created_sets.push((create, hosts));
        }
        op_kind::SET_CONTROL => {
            let control: SetControl = parse(&op.json)?;
            if let Some(set) = state.sets.get_mut(&control.set_id) {
                set.generation += 1;
                set.revision += 1;
                match &control.action {
                    SetAction::Release { count } => {
                        let released = set.held.min(*count);
                        set.held -= released;
                        set.queued += released;
                    }
                    SetAction::ReleaseRange { from, to } => {
                        let released = set.held.min(to.saturating_sub(*from));
                        set.held -= released;
                        set.queued += released;
                    }
                    // Which rows have not started is the test's to say.
                    SetAction::GiveUp { below } => set.given_up_below = *below,
                    SetAction::Pause => set.paused = true,
                    SetAction::Resume => set.paused = false,
                    SetAction::Limit { max_concurrency } => set.max_concurrency = *max_concurrency,
                    SetAction::Cancel { hosts: None, .. } => {
                        set.cancelled = true;
                        let waiting = set.held + set.queued;
                        (set.held, set.queued) = (0, 0);
                        set.skipped += waiting;
                        set.skipped_cancelled += waiting;
                    }
                    // Which rows these are is the test's to say.
                    SetAction::Cancel { hosts: Some(_), .. } => {}
                }
            }
            state.controls.push(control);
        }
        op_kind::AUDIT => state.audits.push(parse(&op.json)?),
        op_kind::RESPOND => state.responses.push(parse(&op.json)?),
        op_kind::SIGNAL => state.signals.push(op.text.to_string()),
        other => {
            return Err(ServerError::Invalid(format!(
                "unknown operation kind {other}"
            )));
        }
    }
    Ok(())
}

fn new_set(state: &TestState, create: &SetCreate, hosts: &[HostId]) -> SetView {
    let total = hosts.len() as u64;
    let skipped = skips(state, hosts).len() as u64;
    let waiting = total - skipped;
    SetView {
        id: create.set_id,
        owner: "test".to_owned(),
        operation_type: create.operation_type.clone(),
        generation: 1,
        revision: 1,
        max_concurrency: create.max_concurrency,
        paused: false,
        cancelled: false,
        total,
        held: if create.held { waiting } else { 0 },
        queued: if create.held { 0 } else { waiting },
        running: 0,
        succeeded: 0,
        failed: 0,
        skipped,
        skipped_cancelled: 0,
        failed_unreachable: 0,
        given_up_below: 0,
        created_at_us: state.now_us,
        expires_at_us: state.now_us
            + i64::try_from(create.expires_in_seconds).unwrap_or_default() * 1_000_000,
        started_at_us: None,
        finished_at_us: None,
    }
}

/// Hosts the inventory knows not to be approved are skipped, as in the server.
fn skips(state: &TestState, hosts: &[HostId]) -> Vec<(HostId, String)> {
    let unapproved = |id: &&HostId| {
        state
            .hosts
            .get(id)
            .is_some_and(|host| host.approval_status != "approved")
    };
    hosts
        .iter()
        .filter(unapproved)
        .map(|id| (*id, "not_approved".to_owned()))
        .collect()
}

/// Held rows are found as queued: both wait.
fn is_found(status: CommandStatus, wanted: CommandStatus) -> bool {
    let is_held = wanted == CommandStatus::Queued && status == CommandStatus::Held;
    status == wanted || is_held
}

fn host_ids(raw: &[u8]) -> Vec<HostId> {
    raw.chunks(16).filter_map(HostId::from_slice).collect()
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ServerError> {
    serde_json::from_slice(json).map_err(|error| ServerError::Invalid(error.to_string()))
}

fn ready<T: Serialize>(value: &Result<T, ServerError>) -> Answer<AbiPayload> {
    let answer = match value {
        Ok(value) => {
            let json = serde_json::to_vec(value).unwrap_or_default();
            RResult::ROk(AbiPayload {
                json: json.into(),
                ..AbiPayload::default()
            })
        }
        Err(error) => RResult::RErr(AbiError::from(error.clone())),
    };
    async move { answer }.into_ffi()
}
