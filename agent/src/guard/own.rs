//! The agent's own files: whoever may change one of them needs no policy's leave for anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{CONFIG_DEFAULT, Config};
use crate::places::mounts::Mounts;
use crate::places::rule::Rule;

/// What the packages and the documents call it; a service of another name is found by what runs.
const SERVICE: &str = "fleetwright-agent";
const PROGRAMS: [&str; 2] = [
    "/usr/bin/fleetwright-agent",
    "/usr/local/bin/fleetwright-agent",
];
/// Where systemd looks for units, generators' output included: systemd.unit(5).
const UNIT_FOLDERS: [&str; 13] = [
    "/etc/systemd/system",
    "/etc/systemd/system.control",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.control",
    "/run/systemd/system.attached",
    "/run/systemd/transient",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where other service managers have scripts and their settings.
const SCRIPT_FOLDERS: [&str; 4] = [
    "/etc/init.d",
    "/etc/conf.d",
    "/etc/default",
    "/etc/sysconfig",
];
/// What a folder that is made for the agent has in its name.
const PRODUCT: &str = "fleetwright";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnKind {
    Settings,
    Data,
    Program,
    Unit,
    Authority,
}

/// A file, or a folder with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    pub kind: OwnKind,
    pub path: PathBuf,
}

impl OwnKind {
    pub fn words(self) -> &'static str {
        match self {
            Self::Settings => "its settings",
            Self::Data => "its data folder",
            Self::Program => "its program",
            Self::Unit => "its service",
            Self::Authority => "the authority it trusts",
        }
    }
}

impl Own {
    /// Other names of the files in a folder (hard links) are those files.
    pub(super) fn rule(&self, mounts: &Mounts) -> Rule {
        let mut rule = Rule::of(&self.path, mounts);
        for entry in std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
        {
            rule.add_file(&entry.path());
        }
        rule
    }
}

/// Of the agent with these settings, which is the program that runs.
pub fn of(config: &Config) -> Vec<Own> {
    let mut own = Vec::new();
    let mut add = |kind, path: PathBuf| own.push(Own { kind, path });
    let file = config.file.clone().unwrap_or_else(|| CONFIG_DEFAULT.into());
    let file = std::path::absolute(&file).unwrap_or(file);
    if let Some(folder) = file
        .parent()
        .filter(|folder| is_its_own(folder, &config.data_dir))
    {
        add(OwnKind::Settings, folder.to_owned());
    }
    add(OwnKind::Settings, file);
    add(OwnKind::Settings, Path::new(CONFIG_DEFAULT).to_owned());
    add(OwnKind::Data, config.data_dir.clone());
    if let Some(authority) = &config.ca_file {
        let authority = std::path::absolute(authority).unwrap_or_else(|_| authority.clone());
        add(OwnKind::Authority, authority);
    }
    for program in programs() {
        add(OwnKind::Program, program);
    }
    for unit in units(service_that_runs().as_deref()) {
        add(OwnKind::Unit, unit);
    }
    own
}

/// Whether a folder of settings was made for them. Any other may be somebody's home, or hold half of the system: there the
/// file alone is the agent's. Nor is it one that has the data folder in it, which is guarded anyway.
fn is_its_own(folder: &Path, data_dir: &Path) -> bool {
    let is_default = Path::new(CONFIG_DEFAULT).parent() == Some(folder);
    let name = folder.file_name().unwrap_or_default();
    let is_named = name.to_string_lossy().contains(PRODUCT);
    (is_default || is_named) && !data_dir.starts_with(folder)
}

fn programs() -> impl Iterator<Item = PathBuf> {
    // After an upgrade the kernel says that the file is gone; its name is what the next start runs.
    let running = std::fs::read_link("/proc/self/exe").ok().map(|path| {
        let text = path.to_string_lossy();
        PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text))
    });
    let called = std::env::args_os().next().map(PathBuf::from);
    let called = called.filter(|path| path.is_absolute());
    let known = PROGRAMS.iter().map(PathBuf::from);
    running.into_iter().chain(called).chain(known)
}

/// The service's unit and what adds to it, wherever it may be; that of all services too, which adds to this one.
fn units(running: Option<&str>) -> Vec<PathBuf> {
    let mut names = vec![SERVICE];
    names.extend(running.filter(|name| *name != SERVICE));
    let mut units = Vec::new();
    for folder in UNIT_FOLDERS.map(Path::new) {
        units.push(folder.join("service.d"));
        for name in &names {
            units.push(folder.join(format!("{name}.service")));
            units.push(folder.join(format!("{name}.service.d")));
            // `a-b-c.service` is also added to by `a-.service.d` and `a-b-.service.d`.
            let dashes = name.match_indices('-').map(|(at, _)| at + 1);
            let prefixes = dashes.filter_map(|end| name.get(..end));
            units.extend(prefixes.map(|prefix| folder.join(format!("{prefix}.service.d"))));
        }
    }
    for folder in SCRIPT_FOLDERS.map(Path::new) {
        units.extend(names.iter().map(|name| folder.join(name)));
    }
    units
}

/// The systemd service that this process is in.
fn service_that_runs() -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    service_in(&text)
}

fn service_in(cgroups: &str) -> Option<String> {
    let parts = cgroups.lines().flat_map(|line| line.split('/'));
    let mut services = parts.filter_map(|part| part.strip_suffix(".service"));
    services
        .next_back()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_settings_is_guarded_if_it_was_made_for_them() {
        for (folder, data, expected) in [
            ("/etc/fleetwright", "/var/lib/fleetwright-agent", true),
            ("/opt/fleetwright-agent", "/opt/data", true),
            ("/opt/fleetwright", "/opt/fleetwright/data", false),
            ("/opt/agent/etc", "/opt/agent/data", false),
            ("/tmp/x", "/tmp/x/data", false),
            ("/etc", "/var/lib/fleetwright-agent", false),
            ("/", "/data", false),
            ("/usr/local", "/data", false),
            ("/home/bob", "/data", false),
        ] {
            let found = is_its_own(Path::new(folder), Path::new(data));
            assert_eq!(found, expected, "{folder} {data}");
        }
    }

    #[test]
    fn whatever_adds_to_the_service_is_its_own() {
        let units = units(Some("my-own-agent"));
        for path in [
            "/etc/systemd/system/fleetwright-agent.service",
            "/etc/systemd/system/fleetwright-agent.service.d",
            "/etc/systemd/system/fleetwright-.service.d",
            "/etc/systemd/system/service.d",
            "/usr/lib/systemd/system/my-own-agent.service",
            "/run/systemd/system/my-own-.service.d",
            "/run/systemd/system/my-.service.d",
            "/etc/init.d/fleetwright-agent",
            "/etc/default/my-own-agent",
        ] {
            assert!(units.contains(&PathBuf::from(path)), "{path}");
        }
    }

    #[test]
    fn the_service_is_read_from_the_cgroup() {
        for (text, expected) in [
            ("0::/system.slice/my-agent.service\n", Some("my-agent")),
            (
                "1:name=systemd:/system.slice/a.service/payload\n",
                Some("a"),
            ),
            ("0::/user.slice\n", None),
            ("", None),
        ] {
            assert_eq!(service_in(text).as_deref(), expected, "{text}");
        }
    }
}
