//! Control groups (v2) for runs, where there are any this agent may make. They let the kernel end a whole tree in one
//! step; without them the supervisor finds the tree by its parents.

use std::path::{Path, PathBuf};

use fleetwright_protocol::CommandId;

/// Where runs get their groups: as configured, else the agent's own group if that may be written. `None`: nowhere.
pub fn parent(setting: Option<&str>) -> Option<PathBuf> {
    let folder = match setting {
        Some("none") => return None,
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
            Path::new("/sys/fs/cgroup").join(own_group(&own)?)
        }
    };
    let usable = folder.join("cgroup.procs").exists()
        && rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok();
    usable.then_some(folder)
}

/// The group of a run.
pub fn of_run(parent: &Path, command_id: CommandId, attempt: u32) -> PathBuf {
    parent.join(format!("fleetwright-{command_id}-{attempt}"))
}

/// Makes the group of a run. `None` if the kernel refuses; the run then does without.
pub fn create(parent: &Path, command_id: CommandId, attempt: u32) -> Option<PathBuf> {
    let group = of_run(parent, command_id, attempt);
    match std::fs::create_dir(&group) {
        Ok(()) => Some(group),
        Err(error) => {
            tracing::debug!(group = %group.display(), %error, "cannot make a control group; doing without");
            None
        }
    }
}

/// The agent's own group, relative to the root of the hierarchy. In the root group itself nothing is made: it is not
/// the agent's.
fn own_group(proc_self_cgroup: &str) -> Option<&str> {
    proc_self_cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .filter(|group| !group.is_empty() && !group.split('/').any(|part| part == ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_used_unless_it_is_the_root() {
        let systemd = "0::/system.slice/fleetwright-agent.service\n";
        assert_eq!(
            own_group(systemd),
            Some("system.slice/fleetwright-agent.service")
        );
        assert_eq!(own_group("9:name=systemd:/x\n0::/\n"), None);
        assert_eq!(own_group("0::/../outside\n"), None);
        assert_eq!(own_group("4:memory:/x\n"), None);
    }

    #[test]
    fn a_folder_that_is_no_group_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(parent(folder.path().to_str()), None);
        assert_eq!(parent(Some("none")), None);
    }
}
