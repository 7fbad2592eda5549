//! The operator of the demo: the built `fleetwright` program, signed in with a configuration of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::place::Place;
use super::server::{Server, USER};
use crate::cargo::{self, Profile};
use crate::steps::{faint, say};

/// What `fleetwright` exits with when a feature is not available.
pub const EXIT_NOT_AVAILABLE: i32 = 4;

pub struct Operator {
    config: PathBuf,
}

pub fn binary() -> PathBuf {
    Profile::Dev.folder().join("fleetwright")
}

impl Operator {
    pub fn new(place: &Place) -> Self {
        Self {
            config: place.operator_config(),
        }
    }

    pub fn sign_in(&self, server: &Server) -> Result<()> {
        let mut command = self.command();
        command
            .args([
                "login",
                "--server",
                &server.url,
                "--user",
                USER,
                "--password-stdin",
            ])
            .stdin(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            writeln!(stdin, "{}", server.password)?;
        }
        let status = child.wait()?;
        ensure!(status.success(), "signing in failed ({status})");
        Ok(())
    }

    /// Runs it as a person would, with the command shown.
    pub fn show(&self, words: &[&str]) -> Result<()> {
        show_command(words);
        let mut command = self.command();
        command.args(words).stdin(Stdio::null());
        cargo::run(command)
    }

    /// Runs it without showing anything but errors; its standard output.
    pub fn quietly(&self, words: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(words).stdin(Stdio::null());
        cargo::output(command)
    }

    /// Runs what must be refused with this exit code and a text that contains `mention`.
    pub fn refused(&self, words: &[&str], code: i32, mention: &str) -> Result<()> {
        show_command(words);
        let output = self.command().args(words).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        print!("{said}");
        if output.status.code() != Some(code) || !said.contains(mention) {
            bail!(
                "expected exit code {code} and a mention of {mention}, got {}",
                output.status
            );
        }
        Ok(())
    }

    pub fn online_hosts(&self) -> Result<usize> {
        let hosts = self.data(&["hosts", "list", "--status", "online"])?;
        Ok(hosts.as_array().map_or(0, Vec::len))
    }

    /// What a call prints for programs.
    pub fn data(&self, words: &[&str]) -> Result<serde_json::Value> {
        let text = self.quietly(&[words, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| words.join(" "))
    }

    /// The program, signed in.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env("FLEETWRIGHT_CONFIG", &self.config)
            .env_remove("FLEETWRIGHT_TOKEN")
            .env_remove("FLEETWRIGHT_SERVER");
        command
    }
}

fn show_command(words: &[&str]) {
    let shown: Vec<String> = words
        .iter()
        .map(|word| {
            if word.contains([' ', '"']) {
                format!("'{word}'")
            } else {
                (*word).to_owned()
            }
        })
        .collect();
    say(&faint(&format!("$ fleetwright {}", shown.join(" "))));
}
