//! Creates and replaces groups: the group, its audit row, the answer for a repeated request and the next generation of the
//! graph in one batch.

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, CallContext, IfMatch, Reply, ServerError};
use fleetwright_protocol::Violation;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ATTEMPTS_MAX, GROUPS_SIGNAL, GroupsError};
use crate::catalog::Group;
use crate::decide::{NotSaved, SaveAs, decide_save};
use crate::engine::Engine;
use crate::{request, store, view};

/// Where a request to save came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// `POST /groups`: with an id in the body it replaces that group.
    Posted(IfMatch),
    /// `PUT /groups/{id}`.
    Put(Uuid, IfMatch),
}

/// Saves a group and gives the answer that was stored for a repeat of the request.
pub async fn save(
    engine: &Engine,
    context: &CallContext,
    asked: Asked,
    body: Value,
) -> Result<Reply, GroupsError> {
    let (id, draft) = request::group(body)?;
    let save_as = match (asked, id) {
        (Asked::Posted(seen), Some(id)) => SaveAs::Existing(id, seen),
        (Asked::Posted(_), None) => SaveAs::New(engine.server().new_id()),
        (Asked::Put(path_id, _), Some(id)) if id != path_id => {
            let detail = "The id must be that of the path, or left out.";
            let violation = Violation::new("/id", "group-id-invalid", detail);
            return Err(GroupsError::Invalid(vec![violation]));
        }
        (Asked::Put(id, seen), _) => SaveAs::Existing(id, seen),
    };
    let is_new = matches!(save_as, SaveAs::New(_));
    for _ in 0..ATTEMPTS_MAX {
        let catalog = engine.catalog().await?;
        let group = decide_save(&catalog, &save_as, &draft, engine.server().now_us())?;
        check_size(&group)?;
        let reply = reply(&group, is_new)?;
        let batch = store::next_generation(catalog.generation());
        match engine
            .server()
            .db()
            .commit(context, write(batch, &group, is_new, &reply))
            .await
        {
            Ok(()) => return Ok(reply),
            // Somebody else was faster: the decision may be another now.
            Err(ServerError::Guard { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(GroupsError::Contended)
}

/// A group that no read can carry would be the end of all of them: the catalogue is read whole.
fn check_size(group: &Group) -> Result<(), GroupsError> {
    let octets = store::octets(group);
    if octets <= store::OCTETS_PER_GROUP_MAX {
        return Ok(());
    }
    // The id lists fit together, whatever is in them; what goes beyond is what the selector says.
    let detail = format!(
        "Stored with group ids in place of names, the group has {octets} bytes; at most {} are kept. \
         Name fewer groups, or fewer hosts.",
        store::OCTETS_PER_GROUP_MAX
    );
    let violation = Violation::new("/selector", "group-too-large", detail);
    Err(GroupsError::Invalid(vec![violation]))
}

fn write(batch: Batch, group: &Group, is_new: bool, reply: &Reply) -> Batch {
    let batch = if is_new {
        batch.sql(store::insert(group))
    } else {
        batch.sql_expecting(store::update(group), 1)
    };
    batch
        .audit(&audit(group, is_new))
        .signal(GROUPS_SIGNAL)
        .respond(reply)
}

fn reply(group: &Group, is_new: bool) -> Result<Reply, ServerError> {
    let status = if is_new { 201 } else { 200 };
    let reply = Reply::json(status, &view::group(group))?
        .with_header("etag", format!("\"{}\"", group.revision));
    Ok(if is_new {
        reply.with_header("location", format!("/api/v1/fleet/groups/{}", group.id))
    } else {
        reply
    })
}

fn audit(group: &Group, is_new: bool) -> AuditEntry {
    let action = if is_new {
        "group.create"
    } else {
        "group.update"
    };
    let in_selector = group
        .selector
        .as_ref()
        .map(|selector| selector.explicit_host_ids().len());
    AuditEntry {
        action: action.to_owned(),
        target_kind: "group".to_owned(),
        target_id: group.id.to_string(),
        detail: json!({
            "name": group.name,
            "parent_id": group.parent_id,
            "explicit_hosts": group.explicit_host_ids.len(),
            "has_selector": group.selector.is_some(),
            "explicit_hosts_in_selector": in_selector,
            "revision": group.revision,
        }),
    }
}

impl From<NotSaved> for GroupsError {
    fn from(why: NotSaved) -> Self {
        match why {
            NotSaved::NotFound => Self::NotFound,
            NotSaved::Stale => Self::Stale,
            NotSaved::NameTaken(other) => Self::NameTaken(other),
            NotSaved::TooMany => Self::TooMany,
            NotSaved::Invalid(violations) => Self::Invalid(violations),
            NotSaved::Cycle(cycle) => Self::Cycle(cycle),
        }
    }
}
