//! What `run`, `bulk` and `rolling` do alike with an operation on many hosts: start it after a question, list, look, steer.
//! How it is watched is in `follow`, what came of it in `report`.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::hosts::find::{self, hosts_word};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::report::{self, Kind};
use crate::session::Session;
use crate::{commands, pages, prompt, select};

/// What of a request is for this program, not the server.
pub struct Start<'a> {
    /// Which hosts.
    pub expression: &'a str,
    /// The question before it, up to the number of hosts: `Run on`.
    pub question: &'a str,
    pub plan_only: bool,
    pub detach: bool,
}

/// Asks and creates. Returns what is to be watched now: nothing if only the plan was wanted, or it goes on alone; then
/// the answer has been shown.
pub fn start(
    session: &Session,
    kind: Kind,
    start: &Start<'_>,
    mut body: Value,
) -> Result<Option<Value>, Failure> {
    let collection = kind.collection();
    if start.plan_only {
        let plan = session.client.post(&collection, &body)?;
        output::item(session, &plan)?;
        return Ok(None);
    }
    if !session.yes {
        // What was shown is what runs: the server refuses if the selection is another one by then.
        let selected = select::count(session, start.expression)?;
        let count = hosts_word(usize::try_from(selected.count).unwrap_or(usize::MAX));
        prompt::confirm(session, &format!("{} {count}?", start.question))?;
        match selected.digest {
            Some(digest) => body["expected_digest"] = json!(digest),
            None => body["expected_count"] = json!(selected.count),
        }
    }
    let created = session.client.create(&collection, &body)?;
    if start.detach {
        output::item(session, &created)?;
        return Ok(None);
    }
    Ok(Some(created))
}

pub fn list(
    session: &Session,
    kind: Kind,
    status: Option<&str>,
    list: ListArgs,
    columns: &[Column],
) -> Result<(), Failure> {
    let path = pages::with_status(&kind.collection(), status);
    let operations = pages::collect(&session.client, &path, list.limit)?;
    output::items(session, &operations, columns)
}

/// The result of each host.
pub fn host_rows(
    session: &Session,
    kind: Kind,
    id: &str,
    status: Option<&str>,
    list: ListArgs,
) -> Result<(), Failure> {
    let rows = report::rows(session, &kind.path(id), status, list.limit)?;
    output::items(session, &rows, &report::HOST_COLUMNS)
}

/// What one host printed.
pub fn host_output(session: &Session, kind: Kind, id: &str, host: &str) -> Result<(), Failure> {
    let host = find::resolve(session, host)?;
    let path = format!("{}/hosts/{host}/output", kind.path(id));
    commands::print_output(session, &session.client.get(&path)?)
}

/// Asks first, with how many hosts it concerns. With a selector, only the hosts that match are cancelled.
pub fn cancel(
    session: &Session,
    kind: Kind,
    id: &str,
    kill: bool,
    selector: Option<Value>,
) -> Result<(), Failure> {
    let operation = session.client.get(&kind.path(id))?;
    let running = report::counter(&operation, "running");
    let open = report::counter(&operation, "queued") + running;
    let (word, end) = if kill {
        ("kill", "they are killed")
    } else {
        ("finish", "they finish")
    };
    let question = format!("Cancel {id}? {open} hosts are open, {running} run now: {end}.");
    prompt::confirm(session, &question)?;
    let mut body = json!({ "running": word });
    if let Some(selector) = selector {
        body["selector"] = selector;
    }
    steer(session, kind, id, "cancel", &body)
}

/// Tells the server what to do with it (`pause`, `resume`), and shows it as it is then.
pub fn steer(
    session: &Session,
    kind: Kind,
    id: &str,
    verb: &str,
    body: &Value,
) -> Result<(), Failure> {
    let path = format!("{}/{verb}", kind.path(id));
    output::item(session, &session.client.post(&path, body)?)
}
