//! The folder of one run: its script and input, the kept output, the exit record. It lives until the server has
//! acknowledged the result.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use fleetwright_protocol::CommandId;

use crate::private_file;
use crate::supervisor::spec::AccountIds;

/// Where all folders of runs are.
pub fn root(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}

pub fn path(data_dir: &Path, command_id: CommandId, attempt: u32) -> PathBuf {
    root(data_dir).join(format!("{command_id}-{attempt}"))
}

/// The command and attempt a folder is named after.
pub fn parse_name(name: &str) -> Option<(CommandId, u32)> {
    let (command_id, attempt) = name.rsplit_once('-')?;
    Some((command_id.parse().ok()?, attempt.parse().ok()?))
}

/// Makes it, empty. Others may pass through (a script that runs as another account is read by that account), not look.
pub fn create(folder: &Path) -> io::Result<()> {
    private_file::make_folder(folder, 0o711)
}

/// Writes a file of the run for the given account (this process's own if `None`) only.
pub fn write(
    folder: &Path,
    name: &str,
    mode: u32,
    content: &[u8],
    owner: Option<&AccountIds>,
) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(folder.join(name))?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.user), Some(owner.group))?;
    }
    file.write_all(content)
}

/// Removes it with all that is in it; one that is not there is as good.
pub fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove the folder of a run");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_folder_says_whose_it_is() {
        let id: CommandId = "01890000-0000-7000-8000-000000000001".parse().unwrap();
        let folder = path(Path::new("/data"), id, 3);
        assert_eq!(
            parse_name(folder.file_name().unwrap().to_str().unwrap()),
            Some((id, 3))
        );
        assert_eq!(parse_name("lost+found"), None);
    }
}
