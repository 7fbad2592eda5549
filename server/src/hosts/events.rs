//! What the watching people are told of hosts.

use fleetwright_protocol::HostId;
use serde_json::json;

use super::Hosts;
use crate::auth::Role;
use crate::db::Tx;
use crate::events::{Event, Visibility};

/// Tells them once `tx` is on disk.
pub(crate) fn publish(
    hosts: &Hosts,
    tx: &mut Tx<'_>,
    kind: &'static str,
    id: HostId,
    data: serde_json::Value,
) {
    let events = hosts.parts().events.clone();
    tx.after_commit(move || events.publish(host_event(kind, id, data)));
}

pub(super) fn host_event(kind: &'static str, id: HostId, data: serde_json::Value) -> Event {
    Event {
        kind,
        subject_kind: "host",
        subject_id: id.to_string(),
        data,
        visibility: Visibility::role(Role::Viewer),
    }
}

/// For changes of many hosts at once: read the list again.
pub(super) fn changed_event(count: usize) -> Event {
    Event {
        kind: "hosts.changed",
        subject_kind: "hosts",
        subject_id: String::new(),
        data: json!({"count": count}),
        visibility: Visibility::role(Role::Viewer),
    }
}
