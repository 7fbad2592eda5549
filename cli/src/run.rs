//! `fleetwright run`: a command on every host an expression selects, followed to its end.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::failure::{Completion, Failure};
use crate::hosts::find::hosts_word;
use crate::operations::{self, Start};
use crate::progress::Display;
use crate::report::Kind;
use crate::script::ScriptArgs;
use crate::session::Session;
use crate::{follow, output, report, select};

#[derive(Args)]
pub struct RunArgs {
    /// Which hosts, such as: tags contains web; or `all`
    pub expression: String,
    #[command(flatten)]
    pub script: ScriptArgs,
    /// At most this many hosts at once; 0 for no limit
    #[arg(long, value_name = "N")]
    pub max_concurrency: Option<u64>,
    /// What to do with hosts that are offline
    #[arg(long, value_enum)]
    pub offline: Option<Offline>,
    /// Hosts that have not started by then are skipped
    #[arg(long, value_name = "SECONDS")]
    pub expires_in: Option<u64>,
    /// Why, for the audit log
    #[arg(long)]
    pub reason: Option<String>,
    /// Show what would be created, and create nothing
    #[arg(long)]
    pub plan_only: bool,
    /// Start it and come back at once
    #[arg(long)]
    pub detach: bool,
    /// The command, after `--`; one word is taken as a script
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Offline {
    /// They run it when they come back
    Queue,
    /// They are left out
    Skip,
}

impl Offline {
    /// As the server calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Skip => "skip",
        }
    }
}

pub fn run(session: &Session, args: &RunArgs) -> Result<Completion, Failure> {
    let start = Start {
        expression: &args.expression,
        question: "Run on",
        plan_only: args.plan_only,
        detach: args.detach,
    };
    let Some(created) = operations::start(session, Kind::Bulk, &start, request(args)?)? else {
        return Ok(Completion::Done);
    };
    let id = output::field(&created, "id");
    if session.is_for_people() {
        let total = report::counter(&created, "total");
        let count = hosts_word(usize::try_from(total).unwrap_or(usize::MAX));
        eprintln!("bulk operation {id} on {count} (Ctrl-C leaves it running)");
    }
    let mut display = Display::new(session.is_for_people());
    let operation =
        follow::to_the_end(session, &Kind::Bulk.path(&id), &mut display).inspect_err(|_| {
            eprintln!("bulk operation {id} goes on: fleetwright bulk show {id} --watch");
        })?;
    report::report(session, Kind::Bulk, &operation)
}

fn request(args: &RunArgs) -> Result<Value, Failure> {
    let mut body = args.script.request(&args.command)?;
    body.insert("selector".to_owned(), select::selector(&args.expression));
    if let Some(limit) = args.max_concurrency {
        body.insert("max_concurrency".to_owned(), json!(limit));
    }
    if let Some(offline) = args.offline {
        body.insert("offline".to_owned(), json!(offline.word()));
    }
    if let Some(seconds) = args.expires_in {
        body.insert("expires_in_seconds".to_owned(), json!(seconds));
    }
    if let Some(reason) = &args.reason {
        body.insert("reason".to_owned(), json!(reason));
    }
    if args.plan_only {
        body.insert("plan_only".to_owned(), json!(true));
    }
    Ok(Value::Object(body))
}
