//! Letting hosts in and shutting them out.

use serde_json::{Map, Value, json};

use super::find::{hosts_word, name_of, resolve};
use crate::failure::Failure;
use crate::session::Session;
use crate::{output, pages, prompt};

/// Ids in one request: the server takes 8 MiB there, and of hosts whose claims it takes over 200.
const CHUNK: usize = 1_000;
const CHUNK_WITH_CLAIMS: usize = 200;

pub fn approve(
    session: &Session,
    hosts: &[String],
    pending: bool,
    accept_tags: bool,
) -> Result<(), Failure> {
    let waiting = match pending {
        true => {
            let path = "/hosts?approval_status=pending";
            Some(pages::collect(&session.client, path, usize::MAX)?)
        }
        false => None,
    };
    if waiting.as_ref().is_some_and(Vec::is_empty) {
        return output::line("no host waits for approval");
    }
    if accept_tags {
        let known = match waiting {
            Some(waiting) => waiting,
            None => known(session, hosts)?,
        };
        return approve_with_claims(session, &known);
    }
    let ids: Vec<String> = match waiting {
        Some(waiting) => {
            let names: Vec<String> = waiting.iter().map(name_of).collect();
            let count = names.len();
            prompt::confirm(
                session,
                &format!("Approve {count} hosts ({})?", some_of(&names)),
            )?;
            waiting
                .iter()
                .map(|host| output::field(host, "id"))
                .collect()
        }
        None => hosts
            .iter()
            .map(|host| resolve(session, host))
            .collect::<Result<_, _>>()?,
    };
    for chunk in ids.chunks(CHUNK) {
        let body = json!({ "host_ids": chunk });
        session.client.post("/hosts/approve", &body)?;
    }
    output::note(session, &format!("approved {}", hosts_word(ids.len())))
}

/// The hosts of these names, as they are now.
fn known(session: &Session, hosts: &[String]) -> Result<Vec<Value>, Failure> {
    let one = |host: &String| {
        let id = resolve(session, host)?;
        Ok(session.client.get(&format!("/hosts/{id}"))?)
    };
    hosts.iter().map(one).collect()
}

/// Shows what the hosts claim, and takes over what was shown: one that has said something else since is not approved.
fn approve_with_claims(session: &Session, hosts: &[Value]) -> Result<(), Failure> {
    let shown: Vec<String> = hosts.iter().map(claims_of).collect();
    let question = format!(
        "{}\nApprove {} with the tags and attributes that they claim?",
        shown.join("\n"),
        hosts_word(hosts.len())
    );
    prompt::confirm(session, &question)?;
    for chunk in hosts.chunks(CHUNK_WITH_CLAIMS) {
        session.client.post("/hosts/approve", &seen(chunk))?;
    }
    output::note(session, &format!("approved {}", hosts_word(hosts.len())))
}

/// The request that approves hosts as they were seen.
fn seen(hosts: &[Value]) -> Value {
    let id = |host: &Value| output::field(host, "id");
    let ids: Vec<String> = hosts.iter().map(id).collect();
    let revision = |host: &Value| (id(host), host["revision"].clone());
    let revisions: Map<String, Value> = hosts.iter().map(revision).collect();
    json!({ "host_ids": ids, "accept_tags": true, "revisions": revisions })
}

fn claims_of(host: &Value) -> String {
    let tags = output::field(host, "agent_tags");
    let attributes = output::field(host, "agent_attributes");
    format!(
        "{} claims tags: {tags}; attributes: {attributes}",
        name_of(host)
    )
}

pub fn reject(session: &Session, hosts: &[String]) -> Result<(), Failure> {
    let ids = hosts
        .iter()
        .map(|host| resolve(session, host))
        .collect::<Result<Vec<_>, _>>()?;
    prompt::confirm(
        session,
        &format!("Reject {} ({})?", hosts_word(ids.len()), some_of(hosts)),
    )?;
    for id in &ids {
        session
            .client
            .post(&format!("/hosts/{id}/reject"), &json!({}))?;
    }
    output::note(session, &format!("rejected {}", hosts_word(ids.len())))
}

/// The first few names, for a question that stays one line.
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        format!("{shown}, …")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_taken_over_as_they_were_shown() {
        let host = json!({"id": "1", "fqdn": "web-1", "revision": 7, "agent_tags": ["db"],
                          "agent_attributes": {"role": "x"}});
        let shown = claims_of(&host);
        assert!(shown.starts_with("web-1 claims tags: db;"), "{shown}");
        assert!(shown.contains("role"), "{shown}");
        assert_eq!(
            seen(&[host]),
            json!({"host_ids": ["1"], "accept_tags": true, "revisions": {"1": 7}})
        );
    }
}
