//! `fleetwright-fuzz [--target NAME] [--seconds N] [--seed N]`: gives mutated inputs to what takes bytes from outside, and
//! keeps the first one that breaks a claim in `target/fuzz`. Exits with 1 if there was one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fleetwright_tests::fuzz::{TARGETS, Target, Until};
use fleetwright_tests::seed;
use fleetwright_tests::source;

const SECONDS_DEFAULT: u64 = 60;

fn main() -> Result<ExitCode> {
    let mut targets: Vec<Target> = TARGETS.to_vec();
    let mut seconds = SECONDS_DEFAULT;
    let mut seed = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--target" => targets.retain(|target| target.name == value),
            "--seconds" => seconds = value.parse().with_context(|| format!("{name} {value}"))?,
            "--seed" => seed = Some(value.parse().with_context(|| format!("{name} {value}"))?),
            unknown => bail!("no such option: {unknown}"),
        }
    }
    if targets.is_empty() {
        bail!(
            "the targets are: {}",
            TARGETS.map(|target| target.name).join(", ")
        );
    }
    let seed = seed.unwrap_or_else(|| seed::seed_of("fuzz"));
    let long = Duration::from_secs(seconds / targets.len() as u64);
    for target in &targets {
        match target.run(seed, Until::Over(long)) {
            Ok(count) => println!(
                "{}: {count} inputs in {long:?} from seed {seed}",
                target.name
            ),
            Err(found) => {
                let folder = source::workspace().join("target/fuzz");
                std::fs::create_dir_all(&folder)?;
                let path = folder.join(format!("{}-{seed}-{}", target.name, found.number));
                std::fs::write(&path, &found.input)?;
                println!(
                    "{}: input {} of seed {seed} breaks a claim; it is kept in {}, and belongs into tests/fuzz/{}",
                    target.name,
                    found.number,
                    path.display(),
                    target.name
                );
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
