//! Forgetting a host: the one thing operators do to it that reaches into its commands.

use fleetwright_protocol::HostId;
use serde_json::json;

use super::actions::{ServerError, publish};
use super::{Hosts, store};
use crate::audit::{self, AuditContext};
use crate::commands::Commands;

/// Forgets a host, if it is at a revision that the caller expects. Its open commands end, its connection is cut and its certificate is good for nothing.
pub async fn delete_host(
    hosts: &Hosts,
    commands: &Commands,
    context: AuditContext,
    id: HostId,
    is_expected: impl FnOnce(i64) -> bool + Send + 'static,
) -> Result<(), ServerError> {
    let handle = hosts.clone();
    let commands = commands.clone();
    hosts
        .db()
        .write(move |tx| {
            let host = store::get_in(tx, id)?.ok_or(ServerError::NotFound)?;
            if !is_expected(host.revision) {
                return Err(ServerError::Stale);
            }
            crate::commands::actions::host_deleted_in(tx, &commands, id)?;
            let revision = store::take_revisions(tx, 1)?;
            store::delete_in(tx, id, revision)?;
            let detail = json!({"fqdn": host.reported.facts.fqdn});
            audit::append(
                tx,
                handle.now_us(),
                &context,
                &audit::entry("host.delete", "host", id, detail),
            )?;
            handle.announce(tx, revision);
            publish(&handle, tx, "host.deleted", id, json!({}));
            tx.after_commit(move || {
                handle.registry().remove(id);
                handle.forget_heartbeats(&[id]);
                handle.parts().connections.cut(id, "the host was deleted");
            });
            Ok(())
        })
        .await
}
