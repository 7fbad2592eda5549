//! Fuzzing on the stable compiler: inputs are made from a small corpus by random mutations, and each is given to a target
//! that must not panic and must keep its claims. There is no coverage to steer by, so the mutations know the formats.

pub mod frames;
pub mod journal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::seed::Choices;
use crate::source;

/// One thing that takes bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Panics if a claim does not hold.
    pub check: fn(&[u8]),
    /// What mutations begin with.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Pieces that such inputs are made of.
    pub words: &'static [&'static [u8]],
}

pub const TARGETS: [Target; 2] = [frames::TARGET, journal::TARGET];

/// When to stop.
#[derive(Clone, Copy)]
pub enum Until {
    Inputs(u64),
    Over(Duration),
}

/// An input that broke a claim.
#[derive(Debug)]
pub struct Found {
    pub input: Vec<u8>,
    pub number: u64,
}

/// Inputs longer than this find nothing that shorter ones do not, and take long.
const INPUT_BYTES_MAX: usize = 8 * 1024;

impl Target {
    /// First the corpus as it is, then mutations of it. Returns how many inputs were tried.
    pub fn run(&self, seed: u64, until: Until) -> Result<u64, Found> {
        let started = Instant::now();
        let corpus = (self.corpus)();
        let mut choices = Choices::new(seed);
        let mut number = 0;
        for input in &corpus {
            self.try_one(input, number)?;
            number += 1;
        }
        loop {
            let over = match until {
                Until::Inputs(count) => number >= count,
                Until::Over(long) => number.is_multiple_of(64) && started.elapsed() >= long,
            };
            if over {
                return Ok(number);
            }
            let input = self.mutated(&corpus, &mut choices);
            self.try_one(&input, number)?;
            number += 1;
        }
    }

    fn try_one(&self, input: &[u8], number: u64) -> Result<(), Found> {
        catch_unwind(AssertUnwindSafe(|| (self.check)(input))).map_err(|_| Found {
            input: input.to_vec(),
            number,
        })
    }

    fn mutated(&self, corpus: &[Vec<u8>], choices: &mut Choices) -> Vec<u8> {
        let pick = |choices: &mut Choices| {
            let at = choices.below(corpus.len() as u64) as usize;
            corpus.get(at).cloned().unwrap_or_default()
        };
        let mut input = pick(choices);
        for _ in 0..=choices.below(6) {
            let at = choices.below(input.len() as u64 + 1) as usize;
            let end = (at + choices.below(24) as usize).min(input.len());
            match choices.below(7) {
                0 if at < input.len() => input[at] ^= 1 << choices.below(8),
                1 if at < input.len() => input[at] = choices.draw() as u8,
                2 => drop(input.drain(at..end)),
                3 => {
                    let copied = input[at..end].to_vec();
                    drop(input.splice(at..at, copied));
                }
                4 => {
                    let other = pick(choices);
                    let from = choices.below(other.len() as u64 + 1) as usize;
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                5 => input.truncate(at),
                _ => {
                    let word = choices.below(self.words.len() as u64) as usize;
                    drop(input.splice(at..end, self.words[word].iter().copied()));
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }
}

/// The files of a target's corpus in `tests/fuzz`: what inputs look like, and what once broke a claim.
fn files(name: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = source::workspace().join("tests/fuzz").join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a file of the corpus can be read"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some seconds each without optimisation.
    const INPUTS: u64 = 6_000;

    fn keeps_its_claims(target: Target) {
        if let Err(found) = target.run(1, Until::Inputs(crate::seed::times(INPUTS))) {
            let text = String::from_utf8_lossy(&found.input).into_owned();
            panic!("{}: input {} of seed 1: {text}", target.name, found.number);
        }
    }

    #[test]
    fn no_frame_and_no_operation_makes_either_end_panic_or_disagree() {
        keeps_its_claims(frames::TARGET);
    }

    #[test]
    fn no_journal_makes_the_agent_panic_forget_or_start_twice() {
        keeps_its_claims(journal::TARGET);
    }

    #[test]
    fn a_claim_that_breaks_is_found_and_its_input_kept() {
        let target = Target {
            name: "frames",
            check: |input| assert!(!input.windows(2).any(|two| two == b"[[")),
            corpus: || vec![b"{}".to_vec()],
            words: &[b"[["],
        };
        let found = target.run(1, Until::Inputs(10_000)).unwrap_err();
        assert!(found.input.windows(2).any(|two| two == b"[["));
    }
}
