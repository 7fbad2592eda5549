//! The server's command line. Everything it does is in the library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use fleetwright_server::agents::{Agents, AgentsParts};
use fleetwright_server::app::{App, data_folder};
use fleetwright_server::audit;
use fleetwright_server::auth::first_start::{self, ConsoleUser};
use fleetwright_server::auth::{Auth, AuthError, Role};
use fleetwright_server::clock::SystemClock;
use fleetwright_server::config::{self, Config};
use fleetwright_server::db::Db;
use fleetwright_server::modules::loader::probe;
use fleetwright_server::run;
use fleetwright_server::telemetry;

/// A fifth of a bulk operation's processor time was the system's allocator. Of this program alone: a module keeps the
/// system's, and what crosses the boundary carries the functions that free it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Fleetwright server.
#[derive(Parser)]
#[command(name = "fleetwright-server", version)]
struct Arguments {
    /// The settings file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve,
    /// Apply the database's migrations and stop.
    Migrate,
    /// Print the effective settings, secrets hidden.
    CheckConfig,
    /// Administer from the console.
    #[command(subcommand)]
    Admin(Admin),
    /// Print the version.
    Version,
    /// Load the module on standard input and end: how the server tries one before it loads it.
    #[command(hide = true)]
    ProbeModule,
}

#[derive(Subcommand)]
enum Admin {
    /// Make a user. The password is read from standard input with --password-stdin, or made and printed once.
    CreateUser {
        #[arg(long)]
        name: String,
        /// viewer, operator or admin.
        #[arg(long, default_value = "admin", value_parser = role)]
        role: Role,
        #[arg(long)]
        password_stdin: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetwright-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: Arguments) -> Result<()> {
    if matches!(arguments.command, Command::Version) {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if matches!(arguments.command, Command::ProbeModule) {
        return Ok(probe::child()?);
    }
    let config = load(arguments.config)?;
    data_folder::keep_new_files_private();
    match arguments.command {
        Command::Serve => on_runtime(serve(config)),
        Command::Migrate => on_runtime(migrate(config)),
        Command::CheckConfig => {
            print!("{}", config.shown());
            Ok(())
        }
        Command::Admin(Admin::CreateUser {
            name,
            role,
            password_stdin,
        }) => on_runtime(create_user(config, name, role, password_stdin)),
        Command::Version | Command::ProbeModule => Ok(()),
    }
}

fn load(path: Option<PathBuf>) -> Result<Config> {
    let required = path.is_some();
    let path = path.unwrap_or_else(|| PathBuf::from(config::FILE_DEFAULT));
    Ok(Config::load(&path, required, std::env::vars())?)
}

fn on_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

async fn serve(config: Config) -> Result<()> {
    telemetry::start_logging(&config.log)?;
    run::raise_descriptor_limit();
    let metrics = telemetry::start_metrics()?;
    fleetwright_server::install_crypto();
    probe::enable(std::env::current_exe()?);
    let password = config.admin_password.clone();
    // It keeps what the clock goes on by.
    data_folder::make_private(&config.data_dir, &config.database_url())?;
    let clock = SystemClock::of_folder(&config.data_dir);
    let (app, workers) = App::build(config, clock, Some(metrics)).await?;
    let agents = Agents::open(AgentsParts::of(&app))?;
    run::stop_on_signals(&app)?;
    // A variable that was left empty is none.
    let password = password.as_ref().map(config::Secret::expose);
    let password = password.filter(|text| !text.is_empty());
    let made = first_start::ensure_admin(&app.auth, password).await;
    let made = made.map_err(explain).context("the first administrator")?;
    announce_first(made, app.auth.first_password.path())?;
    app.auth.tell_of_unowned_tokens().await?;
    let listeners = run::listen(&app)?;
    run::serve(app, agents, workers, listeners).await?;
    Ok(())
}

async fn migrate(config: Config) -> Result<()> {
    telemetry::start_logging(&config.log)?;
    data_folder::make_private(&config.data_dir, &config.database_url())?;
    let db = Db::open(&config.database_url()).await?;
    db.migrate_core().await?;
    db.close().await;
    println!("the database is up to date");
    Ok(())
}

async fn create_user(config: Config, name: String, role: Role, password_stdin: bool) -> Result<()> {
    telemetry::start_logging(&config.log)?;
    let password = match password_stdin {
        true => Some(first_line()?),
        false => None,
    };
    data_folder::make_private(&config.data_dir, &config.database_url())?;
    let db = Db::open(&config.database_url()).await?;
    db.migrate_core().await?;
    let clock = SystemClock::shared();
    audit::open(&db, &config.data_dir, clock.now_us()).await?;
    let auth = Auth::start(db.clone(), clock, &config.data_dir, &config.limits)?;
    let made = first_start::create(&auth, &name, role, password.as_deref(), false).await;
    announce_user(made.map_err(explain)?)?;
    db.close().await;
    Ok(())
}

/// What a server prints is kept in a journal: a password that was made is in a file, and only that is named.
fn announce_first(made: Option<ConsoleUser>, file: &Path) -> Result<()> {
    match made {
        Some(user) if user.generated => {
            let mut out = std::io::stdout().lock();
            let (name, file) = (&user.name, file.display());
            writeln!(
                out,
                "made the user `{name}`; the password is in {file} until it is used"
            )?;
            Ok(out.flush()?)
        }
        made => announce_user(made),
    }
}

/// To whoever has typed the command.
fn announce_user(made: Option<ConsoleUser>) -> Result<()> {
    let Some(user) = made else {
        return Ok(());
    };
    let mut out = std::io::stdout().lock();
    if user.generated {
        writeln!(
            out,
            "made the user `{}` with the password: {}",
            user.name, user.password
        )?;
    } else {
        writeln!(out, "made the user `{}` with the password given", user.name)?;
    }
    Ok(out.flush()?)
}

fn explain(error: AuthError) -> anyhow::Error {
    match error {
        AuthError::Invalid(found) => {
            let details: Vec<_> = found.into_iter().map(|one| one.detail).collect();
            anyhow::anyhow!(details.join(" "))
        }
        other => anyhow::Error::new(other),
    }
}

fn first_line() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        bail!("there is no password on standard input");
    }
    Ok(password.to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "expected viewer, operator or admin".to_owned())
}
