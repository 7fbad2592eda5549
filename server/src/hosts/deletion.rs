//! Forgetting a host: the one thing operators do to it that reaches into its commands.

use fleetwright_protocol::HostId;
use serde_json::json;

use super::actions::{HostError, publish};
use super::{Hosts, store};
use crate::audit::{self, AuditContext};
use crate::db::{DbError, Tx};

/// Forgets a host, if it is at a revision that the caller expects. Its open commands end
/// (`commands::actions::end_with_host` says how: commands stand above hosts), its connection is cut and its certificate is good for nothing.
pub async fn delete_host(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
    is_expected: impl FnOnce(i64) -> bool + Send + 'static,
    end_commands: impl FnOnce(&mut Tx<'_>, HostId) -> Result<(), DbError> + Send + 'static,
) -> Result<(), HostError> {
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let host = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            if !is_expected(host.revision) {
                return Err(HostError::Stale);
            }
            end_commands(tx, id)?;
            let revision = store::take_revisions(tx, 1)?;
            store::delete_in(tx, id, revision)?;
            let detail = json!({"fqdn": host.names().fqdn});
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
