//! What hosts say of themselves, taken over by a person who has seen it.

use serde_json::{Value, json};

use super::find::resolve;
use crate::failure::Failure;
use crate::session::Session;
use crate::{output, prompt};

/// Gives a host the tags and attributes that it claims, as they are shown; if they change meanwhile, nothing is taken over.
pub fn accept_tags(session: &Session, id: &str, host: &str) -> Result<Value, Failure> {
    let path = format!("/hosts/{id}");
    let known = session.client.get(&path)?;
    let tags = output::field(&known, "agent_tags");
    let attributes = output::field(&known, "agent_attributes");
    let question = format!("Give {host} what it claims (tags: {tags}; attributes: {attributes})?");
    prompt::confirm(session, &question)?;
    accept(session, &path, &known, &json!({ "tags": true }))
}

/// Calls hosts what they call themselves, as it is shown.
pub fn accept_names(session: &Session, hosts: &[String]) -> Result<(), Failure> {
    for host in hosts {
        let path = format!("/hosts/{}", resolve(session, host)?);
        let known = session.client.get(&path)?;
        let pending = known.get("pending_names").filter(|names| !names.is_null());
        let Some(names) = pending else {
            output::note(session, &format!("{host} has no other name"))?;
            continue;
        };
        let shown = [
            output::field(names, "fqdn"),
            output::field(names, "hostname"),
        ];
        let [fqdn, hostname] = shown;
        let question = format!("Call {host} what it calls itself ({fqdn}, {hostname})?");
        prompt::confirm(session, &question)?;
        accept(session, &path, &known, &json!({ "names": true }))?;
        output::note(session, &format!("{host} is {fqdn} now"))?;
    }
    Ok(())
}

fn accept(session: &Session, path: &str, known: &Value, body: &Value) -> Result<Value, Failure> {
    let revision = format!("\"{}\"", output::field(known, "revision"));
    let path = format!("{path}/accept");
    Ok(session.client.post_if(&path, body, &revision)?)
}
