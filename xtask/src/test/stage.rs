//! What all tests of a run share: a program of the tests makes it, names it in variables, and takes it down when we end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::cargo::{Profile, shown};

pub struct Stage {
    child: Child,
    pub variables: Vec<(String, String)>,
}

impl Stage {
    pub fn set_up() -> Result<Self> {
        let mut command = Command::new(Profile::Dev.folder().join("fleetwright-stage"));
        let mut child = command
            // They have just been built: their ages say nothing, because what a change does not touch stays old.
            .env("FLEETWRIGHT_TEST_FRESH", Profile::Dev.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| shown(&command))?;
        let stdout = child.stdout.take().context("no output")?;
        let mut variables = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if line.is_empty() {
                return Ok(Self { child, variables });
            }
            let (name, value) = line.split_once('=').context("no variable")?;
            variables.push((name.to_owned(), value.to_owned()));
        }
        let status = child.wait()?;
        ensure!(status.success(), "{} ({status})", shown(&command));
        anyhow::bail!("{} ended before it was ready", shown(&command))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The end of its input tells it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
