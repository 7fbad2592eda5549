//! The agent's program: reads its arguments and calls the library. As a supervisor, or as the
//! process of one operation or plan, it does nothing else first, because that start is on the path of every command.

mod commands;

use std::path::Path;
use std::process::ExitCode;

use fleetwright_agent::plan::{order, runner};
use fleetwright_agent::{operate, supervisor};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let hidden: fn(&Path) -> ExitCode = match arguments.next() {
        Some(first) if first == supervisor::ARGUMENT => supervisor::main,
        Some(first) if first == operate::ARGUMENT => operate::main,
        Some(first) if first == order::ARGUMENT => runner::main,
        Some(_) | None => return commands::main(),
    };
    match arguments.next() {
        Some(folder) => hidden(Path::new(&folder)),
        None => ExitCode::FAILURE,
    }
}
