//! What an operator decides about a node.

use fleetwright_plugin_api::sdk::{
    AuditEntry, Batch, CallContext, IfMatch, Problem, Reply, ServerError,
};
use serde_json::json;
use uuid::Uuid;

use super::fleet::{Fleet, NODES_SIGNAL};
use super::node::Setting;
use super::{store, view};
use crate::error::{ATTEMPTS_MAX, PlacementError};

/// What is to be changed; what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub reserved: Option<bool>,
    pub schedulable: Option<bool>,
}

/// Reserves or drains a node. A placement that is being decided meanwhile is decided again.
pub async fn change(
    fleet: &Fleet,
    context: &CallContext,
    id: Uuid,
    seen: &IfMatch,
    change: Change,
) -> Result<Reply, PlacementError> {
    for _ in 0..ATTEMPTS_MAX {
        let known = fleet.read().await?.node(id).cloned();
        let mut node = known
            .filter(super::node::Node::is_node)
            .ok_or(PlacementError::NotFound("node"))?;
        let saved = store::node(fleet.server().db(), id).await?;
        let before = saved.map(|saved| saved.setting).unwrap_or_default();
        if !seen.matches(before.revision) {
            return Err(Problem::precondition_failed().into());
        }
        let after = Setting {
            reserved: change.reserved.or(before.reserved),
            schedulable: change.schedulable.unwrap_or(before.schedulable),
            revision: before.revision + 1,
        };
        node.setting = after;
        let reply = Reply::json(200, &view::node(&node, None, true))?
            .with_header("etag", format!("\"{}\"", after.revision));
        let batch = store::set(Batch::new(), id, before.revision, &after)
            .audit(&audit(id, &after))
            .signal(NODES_SIGNAL)
            .respond(&reply);
        match fleet.server().db().commit(context, batch).await {
            Ok(()) => {
                fleet.follow_up().await;
                return Ok(reply);
            }
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlacementError::Contended)
}

fn audit(id: Uuid, setting: &Setting) -> AuditEntry {
    AuditEntry {
        action: "node.update".to_owned(),
        target_kind: "host".to_owned(),
        target_id: id.to_string(),
        detail: json!({
            "reserved": setting.reserved,
            "schedulable": setting.schedulable,
            "revision": setting.revision,
        }),
    }
}
