//! Letting hosts in and shutting them out.

use serde_json::json;

use super::find::{hosts_word, name_of, resolve};
use crate::failure::Failure;
use crate::session::Session;
use crate::{output, pages, prompt};

pub fn approve(
    session: &Session,
    hosts: &[String],
    pending: bool,
    accept_tags: bool,
) -> Result<(), Failure> {
    let ids = if pending {
        let waiting = pages::collect(
            &session.client,
            "/hosts?approval_status=pending",
            usize::MAX,
        )?;
        let names: Vec<String> = waiting.iter().map(name_of).collect();
        if waiting.is_empty() {
            return output::line("no host waits for approval");
        }
        let with = match accept_tags {
            true => ", with the tags and attributes that they claim",
            false => "",
        };
        prompt::confirm(
            session,
            &format!("Approve {} hosts ({}){with}?", names.len(), some_of(&names)),
        )?;
        waiting
            .iter()
            .map(|host| output::field(host, "id"))
            .collect()
    } else {
        hosts
            .iter()
            .map(|host| resolve(session, host))
            .collect::<Result<Vec<_>, _>>()?
    };
    // The server takes 8 MiB here; a page of ids at a time is well below it.
    for chunk in ids.chunks(1_000) {
        session.client.post(
            "/hosts/approve",
            &json!({ "host_ids": chunk, "accept_tags": accept_tags }),
        )?;
    }
    output::note(session, &format!("approved {}", hosts_word(ids.len())))
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
