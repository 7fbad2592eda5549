//! What `/proc` says about processes: who is whose child, and whether a pid is still the process it was.

use std::collections::{BTreeMap, BTreeSet};

/// One process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent_pid: u32,
    pub session_id: u32,
    /// Dead, all of its threads, waiting for its parent to look.
    pub zombie: bool,
    /// Clock ticks from boot to its start: with the pid, it names a process for as long as the machine runs.
    pub start_ticks: u64,
}

/// The process with this pid, if there is one.
pub fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat)
}

/// Whether the very process with this pid and start time still runs.
pub fn is_running(pid: u32, start_ticks: u64) -> bool {
    process(pid).is_some_and(|process| process.start_ticks == start_ticks && !process.zombie)
}

/// Every process there is.
pub fn processes() -> Vec<Process> {
    pids().filter_map(process).collect()
}

/// All living processes below `root`, itself not among them. A daemon is found because its nearest living ancestor that
/// is a subreaper has become its parent.
pub fn descendants(root: u32) -> Vec<Process> {
    descendants_among(&processes(), root)
}

/// Living processes whose environment holds `NAME=value` exactly. Needs the rights to read it; others are left out.
pub fn with_variable(name: &str, value: &str) -> Vec<Process> {
    let wanted = format!("{name}={value}");
    pids()
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == wanted.as_bytes())
            })
        })
        .filter_map(process)
        .filter(|process| !process.zombie)
        .collect()
}

/// When the machine started, by the wall clock as it is set now: seconds since 1970.
pub fn boot_unix_seconds() -> Option<i64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// Memory that a process takes of its machine, in mebibytes; pages of the huge kind count, which a guest may be made of.
pub fn memory_resident_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    parse_resident_mb(&status)
}

fn parse_resident_mb(status: &str) -> Option<u64> {
    let kilobytes = |key: &str| -> Option<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    let huge = kilobytes("HugetlbPages").unwrap_or_default();
    Some(kilobytes("VmRSS")?.saturating_add(huge) / 1024)
}

fn pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn descendants_among(processes: &[Process], root: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children
            .entry(process.parent_pid)
            .or_default()
            .push(process);
    }
    let mut seen = BTreeSet::from([root]);
    let mut found = Vec::new();
    let mut waiting = vec![root];
    while let Some(parent) = waiting.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            // Read one after the other, the files may tell of a ring that never was.
            if seen.insert(child.pid) {
                waiting.push(child.pid);
                found.push(**child);
            }
        }
    }
    found.retain(|process| !process.zombie);
    found
}

/// The name in parentheses may hold anything, so fields count from the last `)`.
fn parse_stat(stat: &str) -> Option<Process> {
    let (start, rest) = stat.rsplit_once(')')?;
    let pid = start.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 of proc(5) is the first one here.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Process {
        pid,
        // The state is that of the first thread, which may end before the others.
        zombie: matches!(field(3)?, "Z" | "X") && field(20)?.parse::<u32>().ok()? <= 1,
        parent_pid: field(4)?.parse().ok()?,
        session_id: field(6)?.parse().ok()?,
        start_ticks: field(22)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_move_the_fields() {
        let stat = "42 (a ) b (c) S 7 42 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 2";
        let process = parse_stat(stat).unwrap();
        assert_eq!(
            (process.pid, process.parent_pid, process.session_id),
            (42, 7, 41)
        );
        assert_eq!((process.start_ticks, process.zombie), (9876, false));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_dead_with_its_last() {
        for (threads, dead) in [("0", true), ("1", true), ("2", false)] {
            let stat =
                format!("42 (a) Z 7 42 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 9876");
            assert_eq!(parse_stat(&stat).unwrap().zombie, dead, "{threads} threads");
        }
    }

    #[test]
    fn huge_pages_are_memory_too() {
        let status = "Name:\tqemu VmRSS: 1 kB\nVmHWM:\t 9 kB\nVmRSS:\t    4096 kB\nHugetlbPages:\t 2097152 kB\n";
        assert_eq!(parse_resident_mb(status), Some(2_052));
        assert_eq!(parse_resident_mb("VmRSS:\t 2047 kB\n"), Some(1));
        assert_eq!(parse_resident_mb("Name:\tkthreadd\n"), None);
        assert!(memory_resident_mb(std::process::id()).is_some_and(|memory| memory > 0));
    }

    #[test]
    fn this_process_is_running_and_one_with_another_start_time_is_not() {
        let me = process(std::process::id()).unwrap();
        assert!(is_running(me.pid, me.start_ticks));
        assert!(!is_running(me.pid, me.start_ticks + 1));
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_a_ring_ends() {
        let one = |pid, parent_pid, zombie| Process {
            pid,
            parent_pid,
            session_id: 0,
            zombie,
            start_ticks: 0,
        };
        let all = [
            one(2, 1, false),
            one(3, 2, true),
            one(4, 3, false),
            one(9, 8, false),
            one(8, 9, false),
        ];
        let mut found: Vec<u32> = descendants_among(&all, 1)
            .iter()
            .map(|found| found.pid)
            .collect();
        found.sort_unstable();
        assert_eq!(found, [2, 4]);
        assert_eq!(descendants_among(&all, 8).len(), 1);
    }
}
