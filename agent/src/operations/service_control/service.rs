//! A service as every manager shows it, what can be told to its manager, and what can go wrong. Not which words a manager
//! uses for it.

use std::io;

use crate::operations::tools::{ToolOutput, Tools};

/// Whether a service starts with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtBoot {
    Enabled,
    Disabled,
    /// Others decide: it has nothing that could be enabled.
    Fixed,
    NotAsked,
}

/// What is known of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    pub running: bool,
    /// It was started and did not stay up.
    pub broken: bool,
    /// Somebody has forbidden to start it.
    pub masked: bool,
    pub at_boot: AtBoot,
}

/// One thing to tell the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Start,
    Stop,
    Restart,
    Reload,
    Enable,
    Disable,
}

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("there is no service {0} on this host")]
    NoSuchService(String),
    #[error("{0}")]
    Impossible(String),
    #[error("changing services needs an agent that runs as root")]
    NeedsRoot,
    #[error("cannot run {program}: {error}")]
    NoTool { program: String, error: io::Error },
    /// The state cannot be found out.
    #[error("cannot tell the state of {name}: {words}")]
    NoState { name: String, words: String },
    #[error("cannot {} {name}: {}", .step.verb(), .said.last_words())]
    ToolFailed {
        name: String,
        step: Step,
        said: ToolOutput,
    },
    /// The tool said that all is well, and it is not.
    #[error("{name} {what}")]
    NotSo { name: String, what: &'static str },
}

impl Step {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Enable => "enable",
            Self::Disable => "disable",
        }
    }
}

/// Runs one of the manager's tools.
pub fn run(argv: &[String], tools: &mut dyn Tools) -> Result<ToolOutput, Trouble> {
    tools.run(argv).map_err(|error| Trouble::NoTool {
        program: argv.first().cloned().unwrap_or_default(),
        error,
    })
}

/// The words of a call, the tool first.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
