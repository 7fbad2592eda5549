//! What a host says of itself is a claim until a person takes it over: then its tags and attributes are as if the person had
//! set them, and its name is the one it goes by. What the host says later is a claim again.

use fleetwright_protocol::{HostId, Violation};
use serde_json::json;

use super::error::HostError;
use super::events::publish;
use super::host::{self, Approval, Host, Labels};
use super::{Hosts, labels, store};
use crate::audit::{self, AuditContext};

/// What of it a person takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Tags and attributes.
    pub tags: bool,
    pub names: bool,
}

/// Takes over what the host says now, if it is at a revision that the caller expects. Repeated, it changes nothing more.
pub async fn accept(
    hosts: &Hosts,
    context: AuditContext,
    id: HostId,
    accept: Accept,
    is_expected: impl FnOnce(i64) -> bool + Send + 'static,
) -> Result<Host, HostError> {
    if accept == Accept::default() {
        let found = Violation::new(
            "/tags",
            "nothing-accepted",
            "accept `tags`, `names` or both",
        );
        return Err(HostError::Invalid(vec![found]));
    }
    let handle = hosts.clone();
    hosts
        .db()
        .write(move |tx| {
            let before = store::get_in(tx, id)?.ok_or(HostError::NotFound)?;
            if !is_expected(before.revision) {
                return Err(HostError::Stale);
            }
            let mut host = before.clone();
            if accept.tags {
                host.labels = taken_over(&host).map_err(HostError::Invalid)?;
            }
            // One that waits for approval is called what it says anyway.
            if accept.names && host.pinned.is_some() {
                host.pinned = Some(host.reported.names());
            }
            if host == before {
                return Ok(host);
            }
            host.revision = store::take_revisions(tx, 1)?;
            store::save_labels_in(tx, id, host.revision, &host.labels)?;
            store::save_reported_in(tx, host.revision, &host)?;
            let detail = json!({
                "tags": host.labels.tags,
                "attributes": host.labels.attributes,
                "names": host.names(),
            });
            let entry = audit::entry("host.accept", "host", id, detail);
            audit::append(tx, handle.now_us(), &context, &entry)?;
            handle.announce(tx, host.revision);
            publish(&handle, tx, "host.updated", id, json!({}));
            Ok(host)
        })
        .await
}

/// What people say of the host once what it says is taken over; or what of it is more than people may say.
pub(super) fn taken_over(host: &Host) -> Result<Labels, Vec<Violation>> {
    let accepted = host::accepted(&host.labels, &host.reported);
    let mut found = Vec::new();
    let tags = labels::tags("/agent_tags", accepted.tags.clone()).unwrap_or_else(|violations| {
        found.extend(violations);
        Vec::new()
    });
    if let Err(violations) = labels::attributes("/agent_attributes", &accepted.attributes) {
        found.extend(violations);
    }
    if !host.reported.cut.is_empty() {
        let detail = format!(
            "the host says more than is kept ({}), so not all of it can be taken over",
            host.reported.cut.join(", ")
        );
        found.push(Violation::new("/agent_cut", "claims-cut", detail));
    }
    match found.is_empty() {
        true => Ok(Labels { tags, ..accepted }),
        false => Err(found),
    }
}

/// The host as it is once a person has let it in, by the name it has then.
pub(super) fn let_in(host: &Host, accept_tags: bool) -> Result<Host, Vec<Violation>> {
    let mut decided = host.clone();
    if accept_tags {
        decided.labels = taken_over(host)?;
    }
    if host.approval != Approval::Approved || host.pinned.is_none() {
        decided.pinned = Some(host.reported.names());
    }
    decided.approval = Approval::Approved;
    decided.identity.locked_reason = None;
    Ok(decided)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::host::tests::host;
    use fleetwright_protocol::limits::FACT_ENTRIES_MAX;

    fn named(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn approving_pins_the_name_of_that_moment_and_lifting_a_lock_does_not() {
        let mut waiting = host(1);
        waiting.approval = Approval::Pending;
        waiting.reported.facts.fqdn = named("web-1");
        let mut host = let_in(&waiting, false).unwrap();
        assert_eq!(host.names().fqdn, named("web-1"));
        host.identity.locked_reason = Some("clone".to_owned());
        host.reported.facts.fqdn = named("db-1");
        let unlocked = let_in(&host, false).unwrap();
        assert_eq!(
            (unlocked.names().fqdn, unlocked.identity.locked_reason),
            (named("web-1"), None)
        );
        // One that was shut out and is let in again is seen with its new name.
        host.approval = Approval::Rejected;
        assert_eq!(let_in(&host, false).unwrap().names().fqdn, named("db-1"));
    }

    #[test]
    fn tags_are_taken_over_only_if_asked_and_only_whole() {
        let mut host = host(1);
        host.reported.tags = vec!["db".to_owned()];
        assert!(let_in(&host, false).unwrap().labels.tags.is_empty());
        assert_eq!(let_in(&host, true).unwrap().labels.tags, ["db"]);
        host.labels.tags = (0..FACT_ENTRIES_MAX)
            .map(|number| number.to_string())
            .collect();
        assert!(let_in(&host, true).is_err(), "one more than people may set");
        host.labels.tags.clear();
        host.reported.tags = vec!["x".repeat(300)];
        assert!(let_in(&host, true).is_err(), "longer than people may set");
        host.reported.tags.clear();
        host.reported.cut = vec!["tags".to_owned()];
        assert!(
            let_in(&host, true).is_err(),
            "not all of what it said is there"
        );
    }
}
