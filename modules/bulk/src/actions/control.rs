//! What a pause, a resume or a cancel writes: a step of the set, against the generation it was decided on.

use fleetwright_operations::selection::{Expected, Order, select};
use fleetwright_operations::{Kind, OperationError, read};
use fleetwright_plugin_api::sdk::{Batch, Server};
use fleetwright_plugin_api::wire::{CallContext, SetControl};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::decide::{self, Control, Verdict};
use crate::request::Cancel;
use crate::row::{BulkKind, LoadedBulk};

/// What is written now; nothing if it is already so.
pub fn decide(loaded: &LoadedBulk, asked: &Control) -> Result<Option<Batch>, OperationError> {
    let stage = decide::stage(&loaded.set);
    let action = match decide::control(stage, asked.clone()) {
        Verdict::Nothing => return Ok(None),
        Verdict::Refuse => {
            let (control, state) = (asked.name(), stage.name());
            return Err(OperationError::InvalidTransition { control, state });
        }
        Verdict::Apply(action) => action,
    };
    let step = SetControl {
        set_id: loaded.header.set_id,
        action,
        expect_generation: Some(loaded.set.generation),
    };
    Ok(Some(
        Batch::new()
            .control_set(&step)
            .signal(BulkKind::NAMES.signal),
    ))
}

/// What the audit log says of it.
pub fn facts(asked: &Control) -> Value {
    match asked {
        Control::Pause | Control::Resume => Value::Null,
        Control::Cancel { kill, hosts } => json!({
            "running": if *kill { "kill" } else { "finish" },
            "hosts": hosts.as_ref().map(Vec::len),
        }),
    }
}

/// The cancel that was asked for, of the operation or of the hosts a selector selects now.
pub async fn cancel_of(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    asked: Cancel,
) -> Result<Control, OperationError> {
    // An unknown id is said before anything about the selector.
    read::operation::<BulkKind>(server, context.tenant.as_deref(), id).await?;
    let kill = asked.kill;
    let Some(selector) = &asked.selector else {
        return Ok(BulkKind::cancel(kill));
    };
    let selected = select(server, context, selector, &Expected::default(), Order::ById).await?;
    let hosts = Some(selected.hosts);
    Ok(Control::Cancel { kill, hosts })
}
