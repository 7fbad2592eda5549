//! The one build of everything: libraries, programs, modules and test programs. A plain `cargo build` beside it would choose
//! other features for shared crates, because it counts no dev-dependencies, and so compile the database driver, the
//! server and every module a second time.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::cargo::{self, cargo, root, shown, target};
use crate::steps::say;

/// What [`read`] reads.
pub const MESSAGES: [&str; 3] = ["--quiet", "--message-format", "json-render-diagnostics"];

/// Where the copy without `modules/` lies, in which the community edition is built.
pub fn community_copy() -> PathBuf {
    target().join("community")
}

/// A program that holds tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// `package/target`, for people.
    pub name: String,
    pub path: PathBuf,
    /// Where cargo would start it.
    pub folder: PathBuf,
    pub holds: Holds,
}

impl Program {
    /// As cargo would start it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .current_dir(&self.folder)
            .env("CARGO", cargo().get_program())
            .env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// The tests beside the code of a library or a program: many, short, and in one process.
    UnitTests,
    /// What stands in `tests/`.
    EndToEndTests,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Built {
    pub programs: Vec<Program>,
    pub compiled: usize,
    pub fresh: usize,
}

impl Built {
    /// Cold where most had to be compiled, as in a fresh clone.
    pub fn start(&self) -> &'static str {
        if self.compiled > self.fresh {
            "cold"
        } else {
            "warm"
        }
    }

    pub fn say(&self) {
        let (compiled, fresh) = (self.compiled, self.fresh);
        say(&format!("{compiled} compiled, {fresh} as they were"));
    }

    /// What a later call finds as the earlier ones made or found it counts once.
    pub fn add(&mut self, later: Self) {
        self.programs.extend(later.programs);
        let known = self.compiled + self.fresh;
        self.compiled += later.compiled;
        self.fresh += later.fresh.saturating_sub(known);
    }
}

/// Two calls that agree in every feature, so that the second compiles only what it adds. The server's unit tests are left
/// to the copy without `modules/`.
pub fn everything() -> Result<Built> {
    let mut built = build(&["build", "--workspace", "--lib", "--bins", "--test", "*"])?;
    built.add(build(&[
        "test",
        "--no-run",
        "--workspace",
        "--exclude",
        "fleetwright-server",
        "--lib",
        "--bins",
    ])?);
    Ok(built)
}

fn build(words: &[&str]) -> Result<Built> {
    let mut command = cargo::command(words);
    command.args(MESSAGES);
    read(command)
}

/// Runs a build that prints its messages as JSON.
pub fn read(mut command: Command) -> Result<Built> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| shown(&command))?;
    let stdout = child.stdout.take().context("no output")?;
    let mut built = Built::default();
    for line in BufReader::new(stdout).lines() {
        if let Ok(message) = serde_json::from_str::<Value>(&line?) {
            built.take(&message);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ({status})", shown(&command));
    }
    built.programs.sort();
    Ok(built)
}

impl Built {
    fn take(&mut self, message: &Value) {
        if message["reason"] != "compiler-artifact" {
            return;
        }
        if message["fresh"] == true {
            self.fresh += 1;
        } else {
            self.compiled += 1;
        }
        if message["profile"]["test"] == true {
            self.programs.extend(program(message));
        }
    }
}

fn program(message: &Value) -> Option<Program> {
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    // The server's tests are built in a copy: they keep their name.
    let package = folder
        .strip_prefix(community_copy())
        .or_else(|_| folder.strip_prefix(root()))
        .unwrap_or(folder);
    let target = &message["target"];
    let is_end_to_end = target["kind"].as_array()?.iter().any(|kind| kind == "test");
    Some(Program {
        name: format!("{}/{}", package.display(), target["name"].as_str()?),
        path: message["executable"].as_str()?.into(),
        folder: folder.to_owned(),
        holds: if is_end_to_end {
            Holds::EndToEndTests
        } else {
            Holds::UnitTests
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn artifact(kind: &str, is_test: bool, fresh: bool) -> Value {
        json!({
            "reason": "compiler-artifact",
            "manifest_path": root().join("agent/Cargo.toml"),
            "target": {"name": "one", "kind": [kind]},
            "profile": {"test": is_test},
            "executable": "/target/one",
            "fresh": fresh,
        })
    }

    #[test]
    fn test_programs_are_picked_from_what_was_built() {
        let mut built = Built::default();
        built.take(&artifact("test", true, true));
        built.take(&artifact("bin", false, false));
        built.take(&artifact("lib", true, false));
        built.take(&json!({"reason": "build-finished"}));
        let names: Vec<_> = built
            .programs
            .iter()
            .map(|one| (one.name.as_str(), one.holds))
            .collect();
        let expected = [
            ("agent/one", Holds::EndToEndTests),
            ("agent/one", Holds::UnitTests),
        ];
        assert_eq!(names, expected);
        assert_eq!((built.compiled, built.fresh), (2, 1));
        assert_eq!(built.start(), "cold");
    }

    #[test]
    fn what_the_first_call_has_made_does_not_make_the_second_a_warm_start() {
        let call = |compiled, fresh| Built {
            programs: Vec::new(),
            compiled,
            fresh,
        };
        for (first, second, expected) in [
            (call(400, 0), call(35, 387), (435, 0, "cold")),
            (call(5, 400), call(1, 390), (6, 400, "warm")),
        ] {
            let mut built = first;
            built.add(second);
            assert_eq!((built.compiled, built.fresh, built.start()), expected);
        }
    }
}
