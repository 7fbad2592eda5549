//! The command line: what a person (or systemd) asks of the agent's program.

mod exec;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use fleetwright_agent::certificate::Validity;
use fleetwright_agent::config::{CONFIG_DEFAULT, Config};
use fleetwright_agent::identity::{self, Identity, IdentityError};
use fleetwright_agent::launch::Launcher;
use fleetwright_agent::supervisor::spawner::Spawner;
use fleetwright_agent::{agent, clock, enrollment, logging, run_folder, sessions, status};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const TOKEN_VARIABLE: &str = "FLEETWRIGHT_AGENT_TOKEN";
/// Far longer than any token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Of `status`: it could look, and all is not well. 1 is for what failed, 2 for wrong arguments.
const NOT_WELL: u8 = 3;

/// Fleetwright's agent: runs on a host what its server tells it to, at most once.
#[derive(Parser)]
#[command(version, about)]
struct CommandLine {
    /// Settings (TOML); a variable FLEETWRIGHT_AGENT_KEY overrides a key, `__` stands between levels.
    #[arg(long, global = true, env = "FLEETWRIGHT_AGENT_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Give this host an identity, with a token from the server.
    Enroll(EnrollArguments),
    /// Connect and carry out commands, until told to stop.
    Run,
    /// Show who this agent is and how it is doing.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Say nothing; exit with 3 if this host is not enrolled. For service managers.
        #[arg(long, conflicts_with = "json")]
        enrolled: bool,
    },
    /// Forget the identity and the journal; the host itself is deleted on the server.
    Unenroll {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Carry out one operation here and now, without a server.
    Exec(exec::Arguments),
}

#[derive(Args)]
struct EnrollArguments {
    /// The server's agent port: https://host:port. Default: server_url of the settings.
    #[arg(long)]
    server: Option<String>,
    /// A file with the enrollment token; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The enrollment token itself, which other users of this host can see in the list of processes while this runs: better
    /// --token-file, or the variable. `-` reads it from standard input.
    #[arg(long)]
    token: Option<String>,
    /// The certificate authority (PEM) to trust; needed if the token carries no fingerprint.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Enroll again although this host has an identity; its key is kept, so that the server knows it again.
    #[arg(long)]
    force: bool,
}

/// Parses the arguments and does it. The exit code is 2 for wrong arguments and 1 for everything that failed.
pub fn main() -> ExitCode {
    // Folders others pass through must not depend on who started the agent; files have their own modes.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let arguments = CommandLine::parse();
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fleetwright-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: CommandLine) -> anyhow::Result<ExitCode> {
    let path = arguments.config.as_deref();
    let loaded = Config::load(
        path.unwrap_or(Path::new(CONFIG_DEFAULT)),
        path.is_some(),
        std::env::vars(),
    );
    if let Command::Status { enrolled: true, .. } = arguments.command {
        return Ok(may_run(loaded.ok().as_ref()));
    }
    let config = loaded?;
    logging::start(&config.log)?;
    match arguments.command {
        Command::Enroll(arguments) => runtime()?.block_on(enroll(&config, arguments))?,
        Command::Run => {
            // Before the runtime: a fork wants a process with one thread.
            let launcher = Launcher::this_program().with_spawner(Spawner::start().ok());
            let runtime = runtime()?;
            let done = runtime.block_on(run(&config, launcher));
            // A thread that waits for an adopted run must not keep the agent from ending.
            runtime.shutdown_background();
            done?;
        }
        Command::Status { json, .. } => return show_status(&config, json),
        Command::Unenroll { yes } => unenroll(&config, yes)?,
        Command::Exec(arguments) => return runtime()?.block_on(exec::run(&config, arguments)),
    }
    Ok(ExitCode::SUCCESS)
}

/// One thread: an agent has one connection and few runs, and most of its time nothing to do.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

async fn run(config: &Config, launcher: Launcher) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; runs under way go on");
        stop.send_replace(true);
        // Kept, so that the receiver never takes its end for a stop.
        std::future::pending::<()>().await;
    });
    Ok(agent::run(config, launcher, stopped).await?)
}

async fn enroll(config: &Config, arguments: EnrollArguments) -> anyhow::Result<()> {
    let _lock = agent::lock(&config.data_dir)?;
    match Identity::load(&config.data_dir) {
        Ok(identity) if !arguments.force => {
            bail!(
                "this host is enrolled as {}; use --force to enroll it again",
                identity.record.host_id
            );
        }
        Ok(_) | Err(IdentityError::NotEnrolled | IdentityError::Damaged(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let server = arguments
        .server
        .or_else(|| config.server_url.clone())
        .context("nothing says which server: give --server or set server_url")?;
    let token = token(arguments.token_file.as_deref(), arguments.token)?;
    let becomes_another = sessions::is_in_conflict(&config.data_dir);
    let key = if becomes_another {
        println!("another machine has this host's identity; it enrolls as a host of its own");
        // With its key it would be taken for the other one again.
        identity::next_key
    } else {
        identity::key
    };
    let ca = arguments.ca.as_deref().or(config.ca_file.as_deref());
    let enrolled = enrollment::enroll(config, &server, &token, ca, key).await?;
    if becomes_another {
        // Not before there is something to be instead. The commands it holds are the other one's.
        forget_commands(config)?;
        identity::take_next_key(&config.data_dir)?;
    }
    enrolled.identity.save(&config.data_dir)?;
    println!(
        "enrolled as {} ({})",
        enrolled.identity.record.host_id, enrolled.approval_status
    );
    if enrolled.approval_status == "pending" {
        println!("an operator must approve this host before it is sent anything");
    }
    Ok(())
}

/// From a file, from standard input, from the argument or from the environment; never asked for.
fn token(file: Option<&Path>, argument: Option<String>) -> anyhow::Result<String> {
    let read = |source: &mut dyn Read| {
        let mut text = String::new();
        source.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text.trim().to_owned())
    };
    let is_stdin = file == Some(Path::new("-")) || argument.as_deref() == Some("-");
    let token = match (file, argument) {
        _ if is_stdin => read(&mut std::io::stdin()).context("cannot read the token")?,
        (Some(path), _) => File::open(path)
            .and_then(|mut file| read(&mut file))
            .with_context(|| format!("cannot read the token in {}", path.display()))?,
        (None, Some(token)) => token,
        (None, None) => std::env::var(TOKEN_VARIABLE).unwrap_or_default(),
    };
    if token.is_empty() {
        bail!(
            "there is no token: give --token-file FILE (`-` is standard input) or set {TOKEN_VARIABLE}"
        );
    }
    Ok(token)
}

/// Only a host without an identity has a reason not to run; what is wrong otherwise, `run` says better.
fn may_run(config: Option<&Config>) -> ExitCode {
    match config.map(|config| Identity::load(&config.data_dir)) {
        Some(Err(IdentityError::NotEnrolled)) => ExitCode::from(NOT_WELL),
        Some(Ok(_) | Err(_)) | None => ExitCode::SUCCESS,
    }
}

fn show_status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let running = match agent::lock(&config.data_dir) {
        Ok(_) => false,
        Err(agent::AgentError::Running(_)) => true,
        Err(error) => return Err(error.into()),
    };
    let identity = match Identity::load(&config.data_dir) {
        Ok(identity) => Some(identity),
        Err(IdentityError::NotEnrolled) => None,
        Err(error) => return Err(error.into()),
    };
    let noted = status::read(&config.data_dir);
    let validity = identity
        .as_ref()
        .and_then(|identity| Validity::of_pem(identity.certificate_pem.as_bytes()));
    let runs = std::fs::read_dir(run_folder::root(&config.data_dir)).map_or(0, Iterator::count);
    if json {
        let view = serde_json::json!({
            "enrolled": identity.is_some(),
            "host_id": identity.as_ref().map(|identity| identity.record.host_id),
            "server_url": identity.as_ref().map(|identity| &identity.record.server_url),
            "generation": identity.as_ref().map(|identity| identity.record.generation),
            "certificate_until_unix_seconds": validity.map(|validity| validity.until),
            "running": running,
            "connection": noted.as_ref().filter(|_| running),
            "open_runs": runs,
        });
        println!("{view}");
    } else {
        match &identity {
            None => println!("not enrolled"),
            Some(identity) => {
                println!("host        {}", identity.record.host_id);
                println!("server      {}", identity.record.server_url);
            }
        }
        if let Some(validity) = validity {
            println!(
                "certificate {}",
                certificate_words(validity, clock::unix_seconds())
            );
        }
        println!(
            "agent       {}",
            if running { "running" } else { "not running" }
        );
        if let Some(noted) = noted.filter(|_| running) {
            let state = serde_json::to_value(noted.state)?;
            let since = clock::unix_seconds().saturating_sub(noted.since_unix_seconds);
            println!(
                "connection  {} for {since} s {}",
                state.as_str().unwrap_or_default(),
                noted.detail
            );
        }
        println!("open runs   {runs}");
    }
    let well = running && identity.is_some();
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WELL)
    })
}

fn certificate_words(validity: Validity, now: u64) -> String {
    if validity.is_over(now) {
        format!("ended {} s ago", now - validity.until)
    } else {
        format!("ends in {} s", validity.until - now)
    }
}

fn unenroll(config: &Config, yes: bool) -> anyhow::Result<()> {
    let _lock = agent::lock(&config.data_dir)?;
    if !yes {
        bail!("this forgets the identity of this host; say --yes if that is meant");
    }
    forget(config)?;
    println!("this host has no identity any more; delete it on the server too");
    Ok(())
}

/// Who this host is, and what it holds of its commands.
fn forget(config: &Config) -> anyhow::Result<()> {
    identity::forget(&config.data_dir)?;
    forget_commands(config)
}

fn forget_commands(config: &Config) -> anyhow::Result<()> {
    let others = ["journal", "journal.damaged", "status.json"];
    for name in others.into_iter().chain(sessions::FILES) {
        match std::fs::remove_file(config.data_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {name}"));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
