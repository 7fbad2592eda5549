//! `fleetwright jobs`: submit jobs, look at them, and decide what becomes of those that wait for somebody.

mod explain;
mod graph;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::client::escape;
use crate::failure::{Completion, Failure};
use crate::output::{self, Column};
use crate::pages::ListArgs;
use crate::session::Session;
use crate::{factories, pages, prompt};

#[derive(Subcommand)]
pub enum JobsAction {
    /// Submit a job; with a key that is known, the job it belongs to
    Submit(Box<SubmitArgs>),
    /// List jobs, newest first
    List {
        #[arg(long)]
        stage: Option<String>,
        #[arg(long, value_name = "PRODUCT")]
        product: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one, with its events, runs and artifacts
    Show { id: String },
    /// How many jobs are in which stage, by product
    Counts {
        #[arg(long, value_name = "PRODUCT")]
        product: Option<String>,
    },
    /// Queue it again
    Requeue(WhyArgs),
    /// Cancel it, whoever holds it
    Cancel(WhyArgs),
    /// Give it up: it becomes a dead letter
    Reject(WhyArgs),
    /// Ship one that was given to a person for review
    Ship(WhyArgs),
    /// Do without something it waits for
    Waive {
        id: String,
        /// The id of the job that is waited for
        dependency: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Draw what it waits for
    Dag { id: String },
    /// What happened to it last
    Events { id: String },
    /// Which jobs a factory would get, best first, and what makes the difference; nothing is claimed
    Explain {
        /// Its name or id
        factory: String,
        #[arg(long, value_name = "PRODUCT")]
        product: Option<String>,
    },
}

#[derive(Args)]
pub struct SubmitArgs {
    /// What this job is called, so that submitting it again makes no second one; a fresh one if not given
    #[arg(long)]
    pub key: Option<String>,
    #[arg(long, value_name = "PRODUCT")]
    pub product: Option<String>,
    #[arg(long)]
    pub kind: Option<String>,
    /// low, normal, high or critical
    #[arg(long)]
    pub priority: Option<String>,
    /// What a factory must be able to do (may be repeated)
    #[arg(long = "capability", value_name = "NAME")]
    pub capabilities: Vec<String>,
    /// Id or key of a job to wait for (may be repeated)
    #[arg(long = "depends-on", value_name = "JOB")]
    pub depends_on: Vec<String>,
    #[arg(long)]
    pub max_attempts: Option<u64>,
    /// What it is expected to cost, in USD
    #[arg(long, value_name = "USD")]
    pub estimate: Option<String>,
    /// What it is about
    #[arg(long, conflicts_with = "body_file")]
    pub body: Option<String>,
    /// The same, from a file
    #[arg(long, value_name = "FILE")]
    pub body_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct WhyArgs {
    pub id: String,
    #[arg(long)]
    pub reason: Option<String>,
}

const COLUMNS: [Column; 7] = [
    Column {
        title: "ID",
        cell: |job| output::plain(job, "id"),
    },
    Column {
        title: "PRODUCT",
        cell: |job| output::plain(job, "product_id"),
    },
    Column {
        title: "KIND",
        cell: |job| output::plain(job, "kind"),
    },
    Column {
        title: "PRIORITY",
        cell: |job| output::plain(job, "priority"),
    },
    Column {
        title: "STAGE",
        cell: |job| output::status(job, "stage"),
    },
    Column {
        title: "ATTEMPTS",
        cell: |job| output::plain(job, "attempts"),
    },
    Column {
        title: "CREATED",
        cell: |job| output::plain(job, "created_at"),
    },
];

const EVENT_COLUMNS: [Column; 5] = [
    Column {
        title: "AT",
        cell: |event| output::plain(event, "at"),
    },
    Column {
        title: "EVENT",
        cell: |event| output::plain(event, "type"),
    },
    Column {
        title: "FROM",
        cell: |event| output::plain(event, "from_stage"),
    },
    Column {
        title: "TO",
        cell: |event| output::status(event, "to_stage"),
    },
    Column {
        title: "BY",
        cell: |event| output::plain(event, "actor"),
    },
];

const COUNT_COLUMNS: [Column; 3] = [
    Column {
        title: "PRODUCT",
        cell: |count| output::plain(count, "product_id"),
    },
    Column {
        title: "STAGE",
        cell: |count| output::status(count, "stage"),
    },
    Column {
        title: "JOBS",
        cell: |count| output::plain(count, "jobs"),
    },
];

pub fn run(session: &Session, action: JobsAction) -> Result<Completion, Failure> {
    let client = &session.client;
    match action {
        JobsAction::Submit(args) => {
            let made = client.create("/fleet/jobs", &submission(&args)?)?;
            output::item(session, &made)?;
        }
        JobsAction::List {
            stage,
            product,
            list,
        } => {
            let path = filtered("/fleet/jobs", &[("stage", stage), ("product_id", product)]);
            output::items(
                session,
                &pages::collect(client, &path, list.limit)?,
                &COLUMNS,
            )?;
        }
        JobsAction::Show { id } => output::item(session, &client.get(&path(&id))?)?,
        JobsAction::Counts { product } => {
            let answer = client.get(&filtered("/fleet/jobs/counts", &[("product_id", product)]))?;
            if session.is_for_people() {
                output::items(session, &counts(&answer), &COUNT_COLUMNS)?;
            } else {
                output::data(session.format, &answer)?;
            }
        }
        JobsAction::Requeue(why) => operate(session, "requeue", None, &why)?,
        JobsAction::Cancel(why) => operate(session, "cancel", Some("Cancel"), &why)?,
        JobsAction::Reject(why) => operate(session, "reject", Some("Give up"), &why)?,
        JobsAction::Ship(why) => operate(session, "ship", None, &why)?,
        JobsAction::Waive {
            id,
            dependency,
            reason,
        } => {
            let mut body = reasoned(reason.as_deref());
            body.insert("dependency".to_owned(), json!(dependency));
            let waived = client.create(&format!("{}/waive", path(&id)), &Value::Object(body))?;
            output::item(session, &waived)?;
        }
        JobsAction::Dag { id } => {
            let graph = client.get(&format!("{}/dag", path(&id)))?;
            if session.is_for_people() {
                output::text(&graph::drawn(&graph))?;
            } else {
                output::data(session.format, &graph)?;
            }
        }
        JobsAction::Explain { factory, product } => {
            explained(session, &factory, product.as_deref())?;
        }
        JobsAction::Events { id } => {
            let job = client.get(&path(&id))?;
            let events = job.get("events").and_then(Value::as_array);
            let events = events.map(Vec::as_slice).unwrap_or_default();
            output::items(session, events, &EVENT_COLUMNS)?;
        }
    }
    Ok(Completion::Done)
}

fn explained(session: &Session, factory: &str, product: Option<&str>) -> Result<(), Failure> {
    let factory_id = factories::resolve(session, factory)?;
    let mut body = json!({ "factory_id": factory_id });
    if let (Some(product), Value::Object(fields)) = (product, &mut body) {
        fields.insert("product_id".to_owned(), json!(product));
    }
    let path = "/fleet/jobs/claim?explain=true&dry_run=true";
    let answer = session.client.post(path, &body)?;
    if session.is_for_people() {
        output::items(session, &explain::rows(&answer), &explain::COLUMNS)?;
        output::text(&explain::notes(&answer))
    } else {
        output::data(session.format, &answer)
    }
}

fn submission(args: &SubmitArgs) -> Result<Value, Failure> {
    let key = args.key.clone();
    let key = key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let body = match &args.body_file {
        Some(file) => {
            let read = std::fs::read_to_string(file);
            Some(read.map_err(Failure::file(file.display().to_string()))?)
        }
        None => args.body.clone(),
    };
    let mut fields = Map::new();
    fields.insert("idempotency_key".to_owned(), json!(key));
    let texts = [
        ("product_id", &args.product),
        ("kind", &args.kind),
        ("priority", &args.priority),
        ("estimate_usd", &args.estimate),
        ("body_md", &body),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            fields.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(attempts) = args.max_attempts {
        fields.insert("max_attempts".to_owned(), json!(attempts));
    }
    let lists = [
        ("required_capabilities", &args.capabilities),
        ("depends_on", &args.depends_on),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            fields.insert(name.to_owned(), json!(list));
        }
    }
    Ok(Value::Object(fields))
}

/// What cannot be undone is asked for.
fn operate(
    session: &Session,
    verb: &str,
    asked: Option<&str>,
    why: &WhyArgs,
) -> Result<(), Failure> {
    if let Some(asked) = asked {
        prompt::confirm(session, &format!("{asked} job {}?", why.id))?;
    }
    let body = Value::Object(reasoned(why.reason.as_deref()));
    let path = format!("{}/{verb}", path(&why.id));
    output::item(session, &session.client.create(&path, &body)?)
}

fn reasoned(reason: Option<&str>) -> Map<String, Value> {
    let reason = reason.map(|reason| ("reason".to_owned(), json!(reason)));
    reason.into_iter().collect()
}

/// One row for each stage of each product.
fn counts(answer: &Value) -> Vec<Value> {
    let products = answer.get("items").and_then(Value::as_array);
    let rows = products.into_iter().flatten().flat_map(|product| {
        let stages = product.get("stages").and_then(Value::as_object);
        stages.into_iter().flatten().map(|(stage, jobs)| {
            let product = output::field(product, "product_id");
            json!({ "product_id": product, "stage": stage, "jobs": jobs })
        })
    });
    rows.collect()
}

fn filtered(path: &str, filters: &[(&str, Option<String>)]) -> String {
    let mut filtered = path.to_owned();
    for (name, value) in filters {
        if let Some(value) = value {
            let joint = if filtered.contains('?') { '&' } else { '?' };
            filtered.push_str(&format!("{joint}{name}={}", escape(value)));
        }
    }
    filtered
}

fn path(id: &str) -> String {
    format!("/fleet/jobs/{}", escape(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_follow_a_path_in_one_query() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(filtered("/l", &[("a", None)]), "/l");
        assert_eq!(
            filtered("/l", &[("a", some("x y")), ("b", some("z"))]),
            "/l?a=x%20y&b=z"
        );
    }

    #[test]
    fn counts_are_a_row_for_each_stage() {
        let answer = json!({"items": [{"product_id": "p", "stages": {"failed": 1, "queued": 2}, "total": 3}]});
        let rows = counts(&answer);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[1],
            json!({"product_id": "p", "stage": "queued", "jobs": 2})
        );
    }
}
