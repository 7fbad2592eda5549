//! What people do with single commands: run one on a host, cancel it; and what a deleted host means for its commands.

use fleetwright_plugin_api::wire::{
    AuditEntry, CommandView, OfflinePolicy, SetAction, SetControl, SetCreate,
};
use fleetwright_protocol::{CommandId, ExecutionOptions, HostId, SetId, Violation};
use serde_json::{Value, json};

use super::control::{change_rows, control_in};
use super::create::{SetError, admit_secrets, create_in};
use super::decide;
use super::effects::Effects;
use super::service::Commands;
use super::store::{self, reads};
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};
use crate::hosts::host::Approval;

/// The owner of the sets behind single commands.
pub const OWNER_CORE: &str = "core";

/// One operation for one host. Times in seconds.
#[derive(Clone, Debug)]
pub struct NewCommand {
    pub operation_type: String,
    pub parameters: Value,
    pub options: ExecutionOptions,
    pub timeout_seconds: u64,
    pub expires_in_seconds: u64,
    pub reason: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("there is no such host")]
    HostNotFound,
    #[error("the host is not approved")]
    HostNotApproved,
    #[error("there is no such command")]
    NotFound,
    #[error("the command has already ended as {0}")]
    Ended(String),
    #[error("the operation is not valid")]
    Invalid(Vec<Violation>),
    /// The principal may not use secrets.
    #[error("{0}")]
    Forbidden(&'static str),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<SetError> for CommandError {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Invalid(violations) => Self::Invalid(violations),
            SetError::Forbidden(why) => Self::Forbidden(why),
            SetError::NotFound => Self::NotFound,
            SetError::Finished => Self::Ended("finished".to_owned()),
            SetError::Cancelled => Self::Ended("cancelled".to_owned()),
            SetError::StaleGeneration { .. } | SetError::Preparing => {
                Self::Db(DbError::Unavailable(error.to_string()))
            }
            SetError::Db(error) => Self::Db(error),
        }
    }
}

/// Creates the command; `remember` runs in the same transaction (the idempotency record). Answers when it is durable.
pub async fn run_on_host(
    commands: &Commands,
    caller: AuditContext,
    host_id: HostId,
    new: NewCommand,
    remember: impl FnOnce(&mut Tx<'_>, &CommandView) -> Result<(), DbError> + Send + 'static,
) -> Result<CommandView, CommandError> {
    match commands.registry().get(host_id) {
        None => return Err(CommandError::HostNotFound),
        Some(meta) if meta.approval != Approval::Approved => {
            return Err(CommandError::HostNotApproved);
        }
        Some(_) => {}
    }
    let set_id = SetId(commands.new_id());
    let request = SetCreate {
        set_id,
        operation_type: new.operation_type,
        parameters: new.parameters,
        options: new.options,
        timeout_seconds: new.timeout_seconds,
        expires_in_seconds: new.expires_in_seconds,
        max_concurrency: 0,
        offline: OfflinePolicy::Queue,
        held: false,
        on_behalf_of: None,
    };
    admit_secrets(commands, &caller.principal, &request, &[host_id]).await?;
    let handle = commands.clone();
    commands
        .db()
        .write(move |tx| {
            let created_by = caller.principal.clone();
            create_in(
                tx,
                &handle,
                &request,
                vec![host_id],
                OWNER_CORE,
                &created_by,
            )?;
            let view = view_in(tx, set_id, host_id)?;
            let entry = AuditEntry {
                action: "command.create".to_owned(),
                target_kind: "command".to_owned(),
                target_id: view.id.to_string(),
                detail: json!({
                    "host_id": host_id,
                    "operation_type": request.operation_type,
                    "reason": new.reason,
                }),
            };
            audit::append(tx, handle.now().wall_us, &caller, &entry)?;
            remember(tx, &view)?;
            Ok(view)
        })
        .await
}

/// Cancels one command, of whatever set. Returns it as it is afterwards.
pub async fn cancel(
    commands: &Commands,
    caller: AuditContext,
    id: CommandId,
    kill: bool,
) -> Result<CommandView, CommandError> {
    let handle = commands.clone();
    commands
        .db()
        .write(move |tx| {
            let row = store::load(tx, &[id])?
                .into_iter()
                .next()
                .ok_or(CommandError::NotFound)?;
            if row.state.status.is_terminal() {
                return Err(CommandError::Ended(row.state.status.as_str().to_owned()));
            }
            let control = SetControl {
                set_id: row.set_id,
                action: SetAction::Cancel {
                    kill,
                    hosts: Some(vec![row.host_id]),
                    reason: "cancelled".to_owned(),
                },
                expect_generation: None,
            };
            control_in(tx, &handle, &control)?;
            let entry = AuditEntry {
                action: "command.cancel".to_owned(),
                target_kind: "command".to_owned(),
                target_id: id.to_string(),
                detail: json!({ "kill": kill }),
            };
            audit::append(tx, handle.now().wall_us, &caller, &entry)?;
            view_in(tx, row.set_id, row.host_id)
        })
        .await
}

/// What the deletion of a host does to its commands, for `hosts::deletion::delete_host`.
pub fn end_with_host(
    commands: &Commands,
) -> impl FnOnce(&mut Tx<'_>, HostId) -> Result<(), DbError> + Send + use<> {
    let commands = commands.clone();
    move |tx, id| host_deleted_in(tx, &commands, id)
}

/// Ends every open command of a host that is being deleted, in the deleting transaction.
pub fn host_deleted_in(
    tx: &mut Tx<'_>,
    commands: &Commands,
    host_id: HostId,
) -> Result<(), DbError> {
    let rows = store::load_unfinished_of_host(tx, host_id)?;
    let now = commands.now();
    let mut effects = Effects::default();
    change_rows(tx, rows, now, &mut effects, |row, _| {
        decide::on_host_deleted(&mut row.state, now);
    })?;
    effects.after_commit(tx, commands.outlets());
    Ok(())
}

fn view_in(tx: &mut Tx<'_>, set_id: SetId, host_id: HostId) -> Result<CommandView, CommandError> {
    let statement = reads::one_of_host(tx.dialect(), set_id, host_id);
    let rows = tx.query(statement)?;
    let row = rows.first().ok_or(CommandError::NotFound)?;
    Ok(reads::command_view(row).map_err(DbError::from)?)
}
