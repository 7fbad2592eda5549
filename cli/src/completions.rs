//! Shell completion scripts.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::args::Args;
use crate::failure::{Completion, Failure};

pub fn print(shell: clap_complete::Shell) -> Result<Completion, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "fleetwright", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(Failure::from_output)?;
    Ok(Completion::Done)
}
