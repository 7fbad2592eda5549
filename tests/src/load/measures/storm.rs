//! A reconnect storm: every agent loses its connection at the same moment, as when a switch restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::requests::sample;
use super::server::server;
use super::size::Size;
use crate::load::agent::Behaviour;
use crate::load::crowd::Crowd;
use crate::load::report::{Better, Measurement, Report, say};
use crate::load::statistics::{milliseconds, percentile, spread};

const RUNS: usize = 5;
/// How often it is looked how many are back.
const STEP: Duration = Duration::from_millis(100);
const STEPS_A_SECOND: usize = 10;
const BETWEEN_REQUESTS: Duration = Duration::from_millis(5);

/// What one storm was like.
struct Storm {
    seconds: f64,
    /// Agents welcomed a second: the mean over all of it, and in its busiest second.
    mean: f64,
    peak: f64,
    api: Vec<Duration>,
}

pub fn measure(report: &mut Report, size: Size) {
    let agents = size.of(10_000);
    let fleet = server();
    let mut crowd = Crowd::new(fleet.server.agent_listen, Duration::from_secs(10));
    let token = fleet.admin.enrollment_token(agents, true, &["crowd"]);
    let count = usize::try_from(agents).unwrap_or_default();
    let identities = crowd.enroll(&token, "crowd", count);
    crowd.connect(&identities, Behaviour::Succeed(Duration::ZERO));
    let requests = [fleet.admin.request("GET", "/hosts?limit=50")];
    let address = fleet.admin.address;
    let storms: Vec<Storm> = (0..size.runs(RUNS))
        .map(|_| {
            one(&crowd, agents, |stop| {
                sample(address, &requests, BETWEEN_REQUESTS, stop)
            })
        })
        .collect();
    for storm in &storms {
        say(&format!(
            "{agents} agents were back after {:.1} s",
            storm.seconds
        ));
    }
    let mut add =
        |measure, unit, better, of: fn(&Storm) -> f64, target: Option<f64>, limit: &str| {
            let values: Vec<f64> = storms.iter().map(of).collect();
            let one =
                Measurement::new(measure, agents, unit, spread(&values), better).limited_by(limit);
            report.add(match target {
                Some(target) => one.target(target),
                None => one,
            });
        };
    let handshakes = "TLS handshakes with client certificates, both ends of them on these cores";
    add(
        "all agents back after a cut",
        "s",
        Better::Lower,
        |storm| storm.seconds,
        Some(120.0),
        "the agents' back-off, then handshakes",
    );
    add(
        "handshakes in a storm, mean",
        "agents/s",
        Better::Higher,
        |storm| storm.mean,
        None,
        handshakes,
    );
    add(
        "handshakes in a storm, busiest second",
        "agents/s",
        Better::Higher,
        |storm| storm.peak,
        None,
        handshakes,
    );
    add(
        "API p99 during a storm",
        "ms",
        Better::Lower,
        |storm| milliseconds(percentile(&storm.api, 99.0)),
        Some(250.0),
        handshakes,
    );
}

fn one(crowd: &Crowd, agents: u64, ask: impl Fn(&AtomicBool) -> Vec<Duration> + Sync) -> Storm {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&stop));
        let back = crowd.storm(STEP);
        stop.store(true, Ordering::Relaxed);
        let seconds = (back.len() - 1) as f64 / STEPS_A_SECOND as f64;
        Storm {
            seconds,
            mean: agents as f64 / seconds,
            peak: busiest_second(&back),
            api: asking.join().expect("the asking thread ends well"),
        }
    })
}

/// The most that came back within one second, of how many were back after each step.
fn busiest_second(back: &[u64]) -> f64 {
    let most = (0..back.len())
        .map(|from| {
            let to = (from + STEPS_A_SECOND).min(back.len() - 1);
            back[to] - back[from]
        })
        .max();
    most.unwrap_or_default() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_is_found_wherever_it_begins() {
        let mut back: Vec<u64> = (0..30).collect();
        assert!((busiest_second(&back) - 10.0).abs() < f64::EPSILON);
        back.extend([100, 100]);
        assert!((busiest_second(&back) - 80.0).abs() < f64::EPSILON);
        assert!((busiest_second(&[0, 7]) - 7.0).abs() < f64::EPSILON);
    }
}
