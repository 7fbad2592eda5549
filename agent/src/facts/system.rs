//! Operating system, memory and processors.

use std::path::Path;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    pub id: Option<String>,
    pub version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub total_mb: u64,
    pub available_mb: u64,
}

/// Processor time since boot, in clock ticks over all processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    busy_ticks: u64,
    all_ticks: u64,
}

impl Work {
    /// The share of processor time spent working between the two, in percent.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a percentage needs no more than a float's precision"
    )]
    pub fn load_pct_until(&self, later: &Self) -> Option<f32> {
        let all = later
            .all_ticks
            .checked_sub(self.all_ticks)
            .filter(|all| *all > 0)?;
        let busy = later.busy_ticks.saturating_sub(self.busy_ticks).min(all);
        Some(busy as f32 * 100.0 / all as f32)
    }
}

pub fn os_release() -> OsRelease {
    ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| parse_os_release(&text))
        .unwrap_or_default()
}

pub fn memory() -> Option<Memory> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

pub fn work() -> Option<Work> {
    parse_stat(&std::fs::read_to_string("/proc/stat").ok()?)
}

pub fn cpu_count() -> Option<u32> {
    let count = std::thread::available_parallelism().ok()?;
    u32::try_from(count.get()).ok()
}

pub fn kvm_available() -> bool {
    Path::new("/dev/kvm").exists()
}

fn parse_os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
            .filter(|value| !value.is_empty())
    };
    OsRelease {
        id: value("ID"),
        version: value("VERSION_ID"),
    }
}

fn parse_meminfo(text: &str) -> Option<Memory> {
    let megabytes = |key: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes / 1024)
    };
    Some(Memory {
        total_mb: megabytes("MemTotal")?,
        available_mb: megabytes("MemAvailable")?,
    })
}

/// The first line: user, nice, system, idle, iowait, irq, softirq, steal. Guest time is part of user time.
fn parse_stat(text: &str) -> Option<Work> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let idle_ticks: u64 = ticks.iter().skip(3).take(2).sum();
    let all_ticks: u64 = ticks.iter().sum();
    (ticks.len() >= 4).then_some(Work {
        busy_ticks: all_ticks - idle_ticks,
        all_ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_files_are_read_as_they_are_written() {
        let release =
            parse_os_release("NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\nID_LIKE=x\n");
        assert_eq!(
            (release.id.as_deref(), release.version.as_deref()),
            (Some("debian"), Some("12"))
        );
        let memory = parse_meminfo(
            "MemTotal:       2048000 kB\nMemFree: 1 kB\nMemAvailable:    1024000 kB\n",
        );
        assert_eq!(
            memory,
            Some(Memory {
                total_mb: 2000,
                available_mb: 1000
            })
        );
        let early = parse_stat("cpu  10 0 10 70 10 0 0 0 0 0\n").unwrap();
        let late = parse_stat("cpu  35 0 10 145 10 0 0 0 0 0\n").unwrap();
        assert_eq!(early.load_pct_until(&late), Some(25.0));
        assert_eq!(late.load_pct_until(&late), None);
    }
}
