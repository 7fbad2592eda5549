//! What really ran on the hosts, from a file that every script appends to, and what follows from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Scripts write single short lines, so appends from many hosts do not tear.
pub struct Ledger {
    path: PathBuf,
}

/// One run of one operation on one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub starts: u32,
    pub ends: u32,
    pub started_ns: u64,
    pub ended_ns: u64,
}

impl Ledger {
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// A script that notes its start and end under this operation's number and runs about this long.
    pub fn script(&self, operation: u64, milliseconds: u64) -> String {
        let note = |what: &str| {
            format!(
                "echo {operation} {what} $(date +%s%N) \"$0\" >> {}",
                self.path.display()
            )
        };
        let seconds = milliseconds as f64 / 1000.0;
        format!("{}; sleep {seconds}; {}", note("start"), note("end"))
    }

    /// Host name → run, of one operation. A script's own path lies in its agent's folder and so names the host.
    pub fn runs(&self, operation: u64) -> BTreeMap<String, Run> {
        runs_in(
            &std::fs::read_to_string(&self.path).unwrap_or_default(),
            operation,
        )
    }
}

fn runs_in(text: &str, operation: u64) -> BTreeMap<String, Run> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (number, what, time, path) = (word(), word(), word(), word());
        if number != operation.to_string() {
            continue;
        }
        let time: u64 = time.parse().unwrap_or_default();
        let run = runs.entry(host_of(Path::new(path))).or_default();
        match what {
            "start" => {
                run.starts += 1;
                run.started_ns = time;
            }
            "end" => {
                run.ends += 1;
                run.ended_ns = time;
            }
            other => panic!("{other} in the ledger"),
        }
    }
    runs
}

fn host_of(path: &Path) -> String {
    path.components()
        .filter_map(|part| part.as_os_str().to_str()?.strip_prefix("agent-"))
        .next()
        .unwrap_or_else(|| panic!("{} is in no agent's folder", path.display()))
        .to_owned()
}

/// The most runs that overlapped at one moment.
pub fn overlap(runs: &BTreeMap<String, Run>) -> usize {
    let mut edges: Vec<(u64, i32)> = runs
        .values()
        .filter(|run| run.starts > 0 && run.ends > 0)
        .flat_map(|run| [(run.started_ns, 1), (run.ended_ns, -1)])
        .collect();
    // An end and a start at the same instant do not overlap.
    edges.sort_unstable();
    let (mut now, mut most) = (0_i32, 0_i32);
    for (_, step) in edges {
        now += step;
        most = most.max(now);
    }
    usize::try_from(most).unwrap_or_default()
}

#[test]
fn runs_are_read_and_their_overlap_counted() {
    let text = "1 start 10 /t/agent-a.test/data/x/script\n2 start 11 /t/agent-a.test/y\n1 start 20 /t/agent-b.test/z\n\
                1 end 30 /t/agent-a.test/data/x/script\n1 start 30 /t/agent-c.test/z\n1 end 40 /t/agent-b.test/z\n1 end 50 /t/agent-c.test/z\n";
    let runs = runs_in(text, 1);
    assert_eq!(
        runs.keys().collect::<Vec<_>>(),
        ["a.test", "b.test", "c.test"]
    );
    let expected = Run {
        starts: 1,
        ends: 1,
        started_ns: 20,
        ended_ns: 40,
    };
    assert_eq!(runs["b.test"], expected);
    assert_eq!(overlap(&runs), 2);
    assert_eq!(runs_in(text, 2).len(), 1);
}
