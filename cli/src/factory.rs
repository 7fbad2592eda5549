//! `fleetwright factory run`: a worker that claims jobs and does each with a command of one's own.

mod attempt;
mod command;
mod floor;
mod job;
mod journal;
mod office;
mod said;
mod signals;
mod work;

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::failure::{Completion, Failure};
use crate::session::Session;

use attempt::Order;
use journal::Journal;
use work::Plan;

const ABOUT_COMMAND: &str = "\
The command gets the job as JSON on standard input, and in its environment
  FLEET_JOB_ID, FLEET_JOB_KIND, FLEET_JOB_PRODUCT, FLEET_JOB_PRIORITY
  FLEET_JOB_ATTEMPT     counted from 1
  FLEET_JOB_EPOCH       of the lease
  FLEET_JOB_CHECKPOINT  where an earlier attempt stood, or nothing
  FLEET_JOB_DIR         a folder of its own, removed afterwards
  FLEET_JOB_REPORT      where it says how it goes on, in lines of JSON:
                          {\"stage\": \"testing\"}              or building, review
                          {\"stage\": \"review\", \"release\": true}  a person decides
                          {\"checkpoint\": \"…\"}               text or JSON
                          {\"artifact\": {\"name\": \"…\"}}       what it made
                          {\"spend_usd\": \"0.25\"}             against the product's budget
Exit code 0 ships the job, any other fails it with the last lines of standard error as the reason.

SIGTERM or Ctrl-C: nothing more is claimed, and what does not end within --grace is ended and given back with its
checkpoint. A second one ends everything at once.
A job that was preempted or cancelled is ended: first SIGTERM, then SIGKILL, to all it started.";

#[derive(Args)]
#[command(after_help = ABOUT_COMMAND)]
pub struct RunArgs {
    /// What it can do (may be repeated): it gets jobs that need nothing else
    #[arg(short, long = "capability", value_name = "NAME")]
    pub capabilities: Vec<String>,
    /// Jobs at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub seats: u16,
    /// What it is called: one process a name. What an earlier one still holds is given back [default: this host's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Only jobs of this product
    #[arg(long, value_name = "PRODUCT")]
    pub product: Option<String>,
    /// End when there is nothing left to claim; exit code 1 unless every job shipped
    #[arg(long)]
    pub once: bool,
    /// End after so many jobs; exit code 1 unless every job shipped
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub jobs: Option<u64>,
    /// When it stops, for so long commands may still end by themselves
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub grace: u64,
    /// How often it says that it lives; a server gives up who is silent for 90 s
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub heartbeat: u64,
    /// What each job is done with
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

pub fn run(session: &Session, args: RunArgs) -> Result<Completion, Failure> {
    let plan = Plan {
        name: args.name.unwrap_or_else(host_name),
        capabilities: args.capabilities,
        seats: usize::from(args.seats),
        product: args.product,
        once: args.once,
        jobs: args.jobs,
        beat: Duration::from_secs(args.heartbeat),
        order: Order {
            command: args.command,
            grace: Duration::from_secs(args.grace),
        },
    };
    let journal = Journal {
        format: session.format,
    };
    work::work(&session.client, journal, &plan)
}

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}
