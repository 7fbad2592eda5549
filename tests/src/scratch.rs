//! Folders that live as long as this process and belong to no test. Those of processes that are gone are removed by
//! the next one, because nothing runs when a process is killed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// `<temporary folder>/fleetwright-test-<kind>/<pid>`, fresh.
pub fn process_folder(kind: &str) -> PathBuf {
    let folders = std::env::temp_dir().join(format!("fleetwright-test-{kind}"));
    std::fs::create_dir_all(&folders).expect("the temporary folder can be written");
    // Another user (of the database) must be able to pass through.
    let _ = std::fs::set_permissions(&folders, std::fs::Permissions::from_mode(0o755));
    remove_stale(&folders);
    let folder = folders.join(std::process::id().to_string());
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    folder
}

fn remove_stale(folders: &Path) {
    for entry in std::fs::read_dir(folders).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let running = Path::new("/proc").join(&name).exists();
        let is_number = name.to_string_lossy().parse::<u32>().is_ok();
        if is_number && !running {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
