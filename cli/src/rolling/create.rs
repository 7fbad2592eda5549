//! `fleetwright rolling create`: what is asked of the server, and the question before it.

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Value, json};

use super::watch::watch;
use crate::failure::{Completion, Failure};
use crate::hosts::find::hosts_word;
use crate::operations::{self, Start};
use crate::report::Kind;
use crate::run::Offline;
use crate::script::ScriptArgs;
use crate::session::Session;
use crate::{output, report, select};

#[derive(Args)]
#[command(group(ArgGroup::new("sizes").required(true).args(["batch_size", "batches"])))]
pub struct CreateArgs {
    /// Which hosts, such as: tags contains web; or `all`
    pub expression: String,
    #[command(flatten)]
    pub script: ScriptArgs,
    /// Hosts in each batch
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u64>,
    /// Growing waves, such as: 1,10%,50%,100%
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub batches: Vec<String>,
    /// Between the end of a batch and the next
    #[arg(long, value_name = "SECONDS")]
    pub delay: Option<u64>,
    /// Halt when more than this share of all hosts has failed [default: 0, the first failure]
    #[arg(long, value_name = "PERCENT")]
    pub threshold: Option<u64>,
    /// Halt when more than this share of a batch has failed
    #[arg(long, value_name = "PERCENT")]
    pub batch_threshold: Option<u64>,
    /// Pause instead of halting, for a person to decide
    #[arg(long)]
    pub pause_on_threshold: bool,
    /// Wait for `rolling approve` before batch 2, or before every batch after the first
    #[arg(long, value_enum, value_name = "WHEN")]
    pub require_approval: Option<Approval>,
    /// A script that must succeed on each host afterwards
    #[arg(long, value_name = "SCRIPT")]
    pub health_check: Option<String>,
    /// Between the command and its health check
    #[arg(long, value_name = "SECONDS", requires = "health_check")]
    pub soak: Option<u64>,
    /// Should it halt, run this on the hosts that had started
    #[arg(long, value_name = "SCRIPT")]
    pub rollback: Option<String>,
    /// What to do with hosts that are offline
    #[arg(long, value_enum)]
    pub offline: Option<Offline>,
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
pub enum Approval {
    First,
    Each,
}

pub fn create(session: &Session, args: &CreateArgs) -> Result<Completion, Failure> {
    let start = Start {
        expression: &args.expression,
        question: "Roll out to",
        plan_only: args.plan_only,
        detach: args.detach,
    };
    let Some(created) = operations::start(session, Kind::Rolling, &start, request(args)?)? else {
        return Ok(Completion::Done);
    };
    let id = output::field(&created, "id");
    if session.is_for_people() {
        let total = report::counter(&created, "total");
        let count = hosts_word(usize::try_from(total).unwrap_or(usize::MAX));
        eprintln!(
            "rolling deployment {id} on {count} in {} batches (Ctrl-C leaves it running)",
            output::field(&created, "batch_count"),
        );
    }
    watch(session, &id)
}

fn request(args: &CreateArgs) -> Result<Value, Failure> {
    let mut body = args.script.request(&args.command)?;
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("selector", Some(select::selector(&args.expression)));
    put("batch_size", args.batch_size.map(Value::from));
    let waves: Vec<Value> = args.batches.iter().map(|wave| wave_of(wave)).collect();
    put("batches", (!waves.is_empty()).then(|| json!(waves)));
    put("batch_delay_seconds", args.delay.map(Value::from));
    put("failure_threshold_pct", args.threshold.map(Value::from));
    put(
        "batch_failure_threshold_pct",
        args.batch_threshold.map(Value::from),
    );
    put(
        "on_threshold",
        args.pause_on_threshold.then(|| json!("pause")),
    );
    put(
        "require_approval",
        args.require_approval.map(|when| match when {
            Approval::First => json!("first"),
            Approval::Each => json!("each"),
        }),
    );
    put(
        "health_check",
        args.health_check.as_ref().map(|script| {
            let mut check = json!({ "script": script });
            if let Some(seconds) = args.soak {
                check["soak_seconds"] = json!(seconds);
            }
            check
        }),
    );
    put(
        "rollback",
        args.rollback.as_ref().map(
            |script| json!({ "operation_type": "run_script", "parameters": { "script": script } }),
        ),
    );
    put("offline", args.offline.map(|offline| json!(offline.word())));
    put("reason", args.reason.as_ref().map(|reason| json!(reason)));
    put("plan_only", args.plan_only.then_some(Value::Bool(true)));
    Ok(Value::Object(body))
}

/// A bare number is a count of hosts; what is none is left to the server to judge.
fn wave_of(text: &str) -> Value {
    let text = text.trim();
    match text.parse::<u64>() {
        Ok(count) => json!(count),
        Err(_) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn body(words: &[&str]) -> Option<Value> {
        let words = [&["create", "all"], words, &["--", "true"]].concat();
        let only = Only::try_parse_from(words).ok()?;
        request(&only.args).ok()
    }

    #[test]
    fn waves_are_counts_and_shares() {
        let body = body(&["--batches", "1,10%, 100%"]).expect("parses");
        assert_eq!(body["batches"], json!([1, "10%", "100%"]));
        assert_eq!(body["selector"], json!({"all_hosts": true}));
        assert!(body.get("batch_size").is_none());
    }

    #[test]
    fn sizes_are_needed_and_exclude_each_other() {
        assert!(body(&[]).is_none());
        assert!(body(&["--batch-size", "5", "--batches", "1,100%"]).is_none());
    }

    #[test]
    fn what_is_said_is_asked_for() {
        let words = [
            "--batch-size",
            "5",
            "--delay",
            "60",
            "--threshold",
            "20",
            "--pause-on-threshold",
            "--require-approval",
            "each",
            "--health-check",
            "true",
            "--soak",
            "9",
            "--rollback",
            "undo",
        ];
        let body = body(&words).expect("parses");
        assert_eq!(
            (
                &body["batch_size"],
                &body["batch_delay_seconds"],
                &body["failure_threshold_pct"]
            ),
            (&json!(5), &json!(60), &json!(20))
        );
        assert_eq!(body["on_threshold"], "pause");
        assert_eq!(body["require_approval"], "each");
        assert_eq!(
            body["health_check"],
            json!({"script": "true", "soak_seconds": 9})
        );
        assert_eq!(body["rollback"]["parameters"]["script"], "undo");
    }
}
