//! `fleetwright`: the operator's command line. A client of the public API only; it never opens the
//! server's database or files.

mod args;
mod audit;
mod blobs;
mod budgets;
mod bulk;
mod client;
mod commands;
mod completions;
mod credentials;
mod events;
mod factories;
mod factory;
mod failure;
mod follow;
mod groups;
mod hosts;
mod jobs;
mod keys;
mod license;
mod login;
mod module;
mod modules;
mod nodes;
mod operations;
mod output;
mod pages;
mod place;
mod problem;
mod progress;
mod prompt;
mod report;
mod rolling;
mod roots;
mod run;
mod schedules;
mod script;
mod secrets;
mod select;
mod session;
mod settings;
mod table;
mod tokens;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::audit::AuditAction;
use crate::failure::{Completion, Failure};
use crate::license::LicenseAction;
use crate::session::Session;

fn main() -> ExitCode {
    // TLS and Ed25519 both use this provider; without it the first HTTPS request would panic.
    // An error only means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match dispatch(Args::parse()) {
        Ok(Completion::Done) => ExitCode::SUCCESS,
        Ok(Completion::NotAllSucceeded) => ExitCode::from(1),
        // Whoever read our output has seen enough (`… | head`).
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.for_people());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(args: Args) -> Result<Completion, Failure> {
    match args.command {
        Command::Completions { shell } => completions::print(shell),
        Command::Login(login) => login::login(&args.connection, &login),
        Command::Logout => login::logout(&args.connection),
        Command::Module { action } => module::run(action),
        Command::Audit {
            action: AuditAction::CheckHead(check),
        } => audit::check_head(&check),
        Command::License {
            action: LicenseAction::Vendor(action),
        } => license::vendor(action),
        command => with_session(
            Session::open(&args.connection, args.output, args.yes)?,
            command,
        ),
    }
}

fn with_session(session: Session, command: Command) -> Result<Completion, Failure> {
    match command {
        Command::Hosts { action } => hosts::run(&session, action),
        Command::Select(select) => select::select(&session, &select),
        Command::Groups { action } => groups::run(&session, action),
        Command::Run(run) => run::run(&session, &run),
        Command::Bulk { action } => bulk::run(&session, action),
        Command::Rolling { action } => rolling::run(&session, action),
        Command::Schedules { action } => schedules::run(&session, action),
        Command::Budgets { action } => budgets::run(&session, action),
        Command::Factories { action } => factories::run(&session, action),
        Command::Jobs { action } => jobs::run(&session, action),
        Command::Nodes { action } => nodes::run(&session, action),
        Command::Place { action } => place::run(&session, action),
        Command::Commands { action } => commands::run(&session, action),
        Command::License { action } => match action {
            LicenseAction::Show => license::show(&session),
            LicenseAction::Install { file } => license::install(&session, &file),
            LicenseAction::Remove { key_id } => license::remove(&session, &key_id),
            LicenseAction::Floor(action) => license::reset_floor(&session, &action),
            LicenseAction::Vendor(action) => license::vendor(action),
        },
        Command::Audit { action } => audit::run(&session, action),
        Command::Modules { action } => modules::run(&session, action),
        Command::Blobs { action } => blobs::blobs(&session, action),
        Command::Secrets { action } => secrets::run(&session, action),
        Command::Tokens { action } => tokens::api_tokens(&session, action),
        Command::EnrollmentTokens { action } => tokens::enrollment_tokens(&session, action),
        // Done before there was a session.
        Command::Completions { .. }
        | Command::Login(_)
        | Command::Logout
        | Command::Module { .. } => Ok(Completion::Done),
    }
}
