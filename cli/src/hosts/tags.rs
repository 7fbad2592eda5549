//! The tags an operator gives to hosts. Those an agent claims for itself are not touched.

use serde_json::{Value, json};

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
) -> Result<(), Failure> {
    if add.is_empty() && remove.is_empty() {
        return Err(Failure::Input(
            "nothing to do: use --add TAG or --remove TAG".to_owned(),
        ));
    }
    for host in hosts {
        let changed = tag_host(session, &resolve(session, host)?, add, remove)?;
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
        .get("operator_tags")
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
        let host = json!({"tags": ["agent", "web", "old"], "operator_tags": ["web", "old"]});
        let tags = retagged(&host, &["web".into(), "blue".into()], &["old".into()]);
        assert_eq!(tags, ["blue", "web"]);
    }
}
