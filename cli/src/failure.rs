//! What a command came to: why it did not do what it was asked, and what the shell is told.

use std::io;

use crate::client::ClientError;

/// What a command that ran to its end came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    Done,
    /// The operation finished, and not every host succeeded.
    NotAllSucceeded,
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{what}: {source}")]
    File { what: String, source: io::Error },
    #[error("{0}")]
    Settings(String),
    #[error("{0}")]
    Input(String),
    /// The server answered something this version does not understand.
    #[error("unexpected answer: {0}")]
    Answer(String),
    #[error("{0}")]
    Signing(String),
    #[error("nothing was done")]
    Declined,
    #[error("output closed")]
    OutputClosed,
}

impl Failure {
    pub fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::File { what, source }
    }

    /// An error of writing our own output: a closed pipe is no failure.
    pub fn from_output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::File {
                what: "standard output".to_owned(),
                source,
            }
        }
    }

    /// What is printed on standard error; may be several lines.
    pub fn for_people(&self) -> String {
        match self {
            Self::Client(ClientError::Problem(problem)) => problem.for_people(),
            Self::Client(_)
            | Self::File { .. }
            | Self::Settings(_)
            | Self::Input(_)
            | Self::Answer(_)
            | Self::Signing(_)
            | Self::Declined
            | Self::OutputClosed => format!("error: {self}"),
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Input(_) => 2,
            Self::Client(ClientError::Problem(problem)) if problem.status == 402 => 4,
            Self::Client(_) | Self::File { .. } | Self::Answer(_) | Self::Signing(_) => 3,
            Self::Declined => 5,
            Self::OutputClosed => 0,
        }
    }
}
