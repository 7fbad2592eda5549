//! `cargo xtask`: builds, runs, checks and packs the project. Uses the built binaries and nothing of their code.

mod bench;
mod cargo;
mod children;
mod demo;
mod dist;
mod fuzz;
mod keys;
mod openapi;
mod sbom;
mod sim;
mod steps;
mod test;
mod wait;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  demo       build everything, start a server with three agents and the modules, run the main job,
             and stay up until Ctrl-C
      --once         end after the job; success only if every host succeeded
      --community    without modules: shows what the community edition answers
      --hosts N      this many agents (default 3)
      --port P       the server's port (default: a free one)
  test       every check and test there is; installs what only tests need when root
      NAME...        only builds and runs the tests whose program (tests/api) or name contains one of these
  soak       the tests with their loops of chance longer
      --times N      so many times as long as an ordinary run (default 10)
      NAME...        only those whose program or name contains one of these
  dist       release build, packed into target/dist/
      --deb          Debian packages of the server, the agent and the command line too
  bench [NAME]  the measurements, as a table, JSON lines and plots under target/bench/
  sim        many simulated worlds: crashes, lost frames, power cuts, all from one seed each
      --seeds N      so many (default 10000), from --from N (default 1), on --jobs N threads
      --seed N       only this one, with its whole story
  fuzz       mutated inputs for what takes bytes from outside (default: a minute)
      --target NAME  only frames or journal
      --seconds N    so long; --seed N for the same inputs again
  openapi    write the OpenAPI document to target/openapi.json
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match command.as_str() {
        "demo" => demo::run(&demo::Options::parse(rest)?),
        "test" => test::run(rest),
        "soak" => test::soak(rest),
        "dist" => dist::run(rest),
        "bench" => bench::run(rest),
        "sim" => sim::run(rest),
        "fuzz" => fuzz::run(rest),
        "openapi" => without_arguments(rest).and_then(|()| openapi::run()),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no such command: {other}\n\n{HELP}"),
    }
}

fn without_arguments(rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(unknown) => bail!("unexpected argument: {unknown}"),
    }
}
