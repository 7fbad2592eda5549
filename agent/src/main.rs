//! The agent's program: reads its arguments and calls the library. As a supervisor it does nothing else first, because
//! that start is on the path of every command.

mod commands;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == fleetwright_agent::supervisor::ARGUMENT)
    {
        return match arguments.next() {
            Some(folder) => fleetwright_agent::supervisor::main(Path::new(&folder)),
            None => ExitCode::FAILURE,
        };
    }
    commands::main()
}
