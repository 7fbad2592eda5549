//! `exec`: one operation, here and now, without server or journal. The policy and the validation are the same.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use fleetwright_agent::blobs::Blobs;
use fleetwright_agent::config::Config;
use fleetwright_agent::launch::Launcher;
use fleetwright_agent::run::{Run, RunChannels, RunEvent};
use fleetwright_agent::{abilities, agent, clock, job, policy, run_folder};
use fleetwright_protocol::limits::TIMEOUT_SECONDS_DEFAULT;
use fleetwright_protocol::outcome::OutcomeStatus;
use fleetwright_protocol::{CommandId, Operation, Outcome};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

/// As much as a frame may carry.
const PLAN_BYTES_MAX: u64 = fleetwright_protocol::limits::OPERATION_BYTES_MAX as u64;

#[derive(Args)]
pub struct Arguments {
    /// Say what would change and touch nothing.
    #[arg(long)]
    dry_run: bool,
    /// End it after so many seconds.
    #[arg(long, default_value_t = TIMEOUT_SECONDS_DEFAULT)]
    timeout: u64,
    /// The whole result as JSON.
    #[arg(long)]
    json: bool,
    /// A file with {"operation_type", "parameters", "options"}; `-` is standard input.
    plan: PathBuf,
}

pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let operation: serde_json::Value =
        serde_json::from_str(&text(&arguments)?).context("the plan is not JSON")?;
    let mut job = job::parse_timed(&operation, |_| arguments.timeout)?;
    job.options.dry_run |= arguments.dry_run;
    let executor = Arc::new(agent::executor(
        config,
        Launcher::this_program(),
        Blobs::Unavailable,
    )?);
    policy::check(
        &config.policy,
        &job.operation,
        &job.options,
        &executor.own_user,
    )?;
    abilities::check(job.operation.operation_type(), &config.system).map_err(|why| anyhow!(why))?;
    let run = Run {
        command_id: CommandId(Uuid::new_v4()),
        attempt: 1,
    };
    let (events_sender, mut events) = mpsc::channel(8);
    let (kill, killed) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            kill.send_replace(true);
        }
        std::future::pending::<()>().await;
    });
    if let Operation::ApplyDeploymentPlan(_) = job.operation
        && let Some(refused) = abilities::plan_refusal(&executor, &job, None)
    {
        bail!("{}", refused.message);
    }
    let execution = job.execution(clock::unix_ms());
    let channels = RunChannels {
        events: events_sender,
        kill: killed,
    };
    tokio::spawn(Arc::clone(&executor).carry_out(job, run, execution, channels));
    let outcome = loop {
        match events.recv().await.context("the operation was aborted")? {
            RunEvent::Launched { go, .. } => {
                // It has ended by itself if nobody listens.
                let _ = go.send(Ok(()));
            }
            RunEvent::NotStarted { reason, .. } => bail!("it did not start: {reason:?}"),
            RunEvent::Ended { outcome, .. } => break outcome,
        }
    };
    let shown = show(
        &outcome,
        arguments.json,
        &run_folder::path(&config.data_dir, run.command_id, run.attempt),
    );
    run_folder::remove(&run_folder::path(
        &config.data_dir,
        run.command_id,
        run.attempt,
    ));
    shown?;
    Ok(match outcome.status {
        OutcomeStatus::Succeeded => ExitCode::SUCCESS,
        OutcomeStatus::Failed | OutcomeStatus::Unknown(_) => ExitCode::FAILURE,
    })
}

fn text(arguments: &Arguments) -> anyhow::Result<String> {
    let mut text = String::new();
    if arguments.plan.as_os_str() == "-" {
        std::io::stdin()
            .take(PLAN_BYTES_MAX)
            .read_to_string(&mut text)?;
    } else {
        let file = std::fs::File::open(&arguments.plan)
            .with_context(|| format!("cannot read {}", arguments.plan.display()))?;
        file.take(PLAN_BYTES_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn show(outcome: &Outcome, json: bool, folder: &std::path::Path) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(outcome)?);
        return Ok(());
    }
    let mut stdout = std::io::stdout().lock();
    if outcome.stdout.in_parts {
        for name in ["stdout.head", "stdout.tail"] {
            stdout.write_all(&std::fs::read(folder.join(name)).unwrap_or_default())?;
        }
    }
    stdout.write_all(&outcome.stdout.head)?;
    std::io::stderr().lock().write_all(&outcome.stderr.head)?;
    let changed = if outcome.changed {
        "changed"
    } else {
        "unchanged"
    };
    let status = serde_json::to_value(outcome.status)?;
    let status = status.as_str().unwrap_or_default();
    eprintln!(
        "{status}, {changed} ({} ms) {}",
        outcome.duration_ms, outcome.message
    );
    Ok(())
}
