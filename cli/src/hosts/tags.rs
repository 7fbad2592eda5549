//! The tags people give to hosts.

use serde_json::{Value, json};

use super::claims;
use super::find::{name_of, resolve};
use crate::client::ClientError;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

/// A host changes when it connects or its facts do; not several times in a row.
const TAG_ATTEMPTS: u32 = 3;

pub fn tag(
    session: &Session,
    hosts: &[String],
    add: &[String],
    remove: &[String],
    accept: bool,
) -> Result<(), Failure> {
    let is_edit = !add.is_empty() || !remove.is_empty();
    if !is_edit && !accept {
        return Err(Failure::Input(
            "nothing to do: use --add TAG, --remove TAG or --accept".to_owned(),
        ));
    }
    for host in hosts {
        let id = resolve(session, host)?;
        let mut changed = Value::Null;
        if accept {
            changed = claims::accept_tags(session, &id, host)?;
        }
        if is_edit {
            changed = tag_host(session, &id, add, remove)?;
        }
        let shown = format!("{}: {}", name_of(&changed), output::field(&changed, "tags"));
        output::note(session, &shown)?;
    }
    Ok(())
}

/// Replaces the operator's tags, as they were read; if the host changed in between, reads again.
fn tag_host(
    session: &Session,
    id: &str,
    add: &[String],
    remove: &[String],
) -> Result<Value, Failure> {
    let path = format!("/hosts/{id}");
    let mut attempts = 1..=TAG_ATTEMPTS;
    loop {
        let known = session.client.get(&path)?;
        let revision = format!("\"{}\"", output::field(&known, "revision"));
        let body = json!({ "tags": retagged(&known, add, remove) });
        match session.client.patch(&path, &body, &revision) {
            Err(ClientError::Problem(problem))
                if problem.status == 412 && attempts.next().is_some() => {}
            result => return Ok(result?),
        }
    }
}

fn retagged(host: &Value, add: &[String], remove: &[String]) -> Vec<String> {
    let known = host
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut tags: Vec<String> = known
        .map(str::to_owned)
        .chain(add.iter().cloned())
        .collect();
    tags.retain(|tag| !remove.contains(tag));
    tags.sort();
    tags.dedup();
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_and_removed_without_doubles() {
        let host = json!({"tags": ["web", "old"], "agent_tags": ["agent"]});
        let tags = retagged(&host, &["web".into(), "blue".into()], &["old".into()]);
        assert_eq!(tags, ["blue", "web"]);
    }
}
