//! What is around every process of a run: where programs are looked for, and an environment that holds nothing of the
//! agent's own.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fleetwright_protocol::CommandId;

use super::CannotRun;
use crate::accounts::{self, Account};
use crate::supervisor::spec::COMMAND_VARIABLE;

/// Where programs are looked for, whatever the agent's own environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where Homebrew is (its documentation's "prefix"), beside `/usr/local`: in no other program's way.
const BREW: &str = "brew";
const BREW_FOLDERS: [&str; 2] = ["/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin"];
/// Others than its owner may change neither a tool nor the folder it is in.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// The variables of a run: the few that every program may count on, then the operation's own. Never a variable of the
/// dynamic linker (refused by validation, and here once more because this is where it would matter).
pub fn environment<'a>(
    asked: impl Iterator<Item = (&'a String, &'a String)>,
    command_id: CommandId,
    account: Option<&Account>,
) -> Result<BTreeMap<String, String>, CannotRun> {
    let home = match account {
        Some(account) => account.home.clone(),
        None => own_home()?,
    };
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), home),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    for (name, value) in asked {
        variables.insert(name.clone(), value.clone());
    }
    variables.retain(|name, _| !name.starts_with("LD_"));
    variables.insert(COMMAND_VARIABLE.to_owned(), command_id.to_string());
    Ok(variables)
}

/// Where the system's own tool of this name is: only in folders that nobody may change but root and this process's own
/// account, which needs no tool for what it may do; and no environment says where else.
pub fn tool(name: &str) -> Option<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    tool_in(folders_of(name), name, own)
}

fn folders_of(name: &str) -> impl Iterator<Item = &'static Path> {
    let brews = BREW_FOLDERS.iter().filter(move |_| name == BREW);
    PATH.split(':').chain(brews.copied()).map(Path::new)
}

/// Whether the system has this tool.
pub fn is_installed(name: &str) -> bool {
    tool(name).is_some()
}

/// What a tool of the system's own is given, and nothing else. The command's name is among it, by which its processes are
/// found again.
pub fn of_tools() -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        // What tools say is read by programs: always in one language.
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
    ]);
    for name in ["HOME", COMMAND_VARIABLE] {
        if let Ok(value) = std::env::var(name) {
            variables.insert(name.to_owned(), value);
        }
    }
    variables
}

fn tool_in<'a>(
    mut folders: impl Iterator<Item = &'a Path>,
    name: &str,
    own: u32,
) -> Option<PathBuf> {
    let is_trusted = |found: &std::fs::Metadata| {
        [0, own].contains(&found.uid()) && found.mode() & OTHERS_MAY_WRITE == 0
    };
    folders.find_map(|folder| {
        let path = folder.join(name);
        let its_folder = std::fs::metadata(folder).ok()?;
        let program = std::fs::metadata(&path).ok()?;
        let runs = program.is_file() && program.permissions().mode() & 0o111 != 0;
        (runs && is_trusted(&its_folder) && is_trusted(&program)).then_some(path)
    })
}

pub fn text_of(path: PathBuf) -> Result<String, CannotRun> {
    path.into_os_string().into_string().map_err(|_| {
        CannotRun::Refused("the agent's data folder has a name that is not UTF-8".to_owned())
    })
}

fn own_home() -> Result<String, CannotRun> {
    // Asked once: the name service may be slow, and this process does not change accounts.
    static HOME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    if let Some(home) = HOME.get() {
        return Ok(home.clone());
    }
    let account = accounts::own_account()
        .map_err(|error| CannotRun::because("cannot look up the agent's own account", &error))?;
    Ok(HOME.get_or_init(|| account.home).clone())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_tool_is_found_only_where_no_third_account_may_change_it() {
        let host = tempfile::tempdir().unwrap();
        let (first, second) = (host.path().join("first"), host.path().join("second"));
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for folder in [&first, &second] {
            std::fs::create_dir(folder).unwrap();
            set_mode(folder, 0o755);
            std::fs::write(folder.join("tool"), "").unwrap();
            set_mode(&folder.join("tool"), 0o755);
        }
        let found_by = |own| tool_in([first.as_path(), second.as_path()].into_iter(), "tool", own);
        if !accounts::is_root() {
            let own = rustix::process::geteuid().as_raw();
            assert_eq!(found_by(0), None, "they are not root's");
            assert_eq!(found_by(own), Some(first.join("tool")));
            return;
        }
        let found = || found_by(0);
        assert_eq!(found(), Some(first.join("tool")));
        for (path, mode) in [
            (first.clone(), 0o775),
            (first.clone(), 0o777),
            (first.join("tool"), 0o757),
            (first.join("tool"), 0o644),
        ] {
            set_mode(&path, mode);
            assert_eq!(found(), Some(second.join("tool")), "{path:?} {mode:o}");
            set_mode(&path, 0o755);
        }
        for path in [first.clone(), first.join("tool")] {
            chown(&path, Some(65_534), None).unwrap();
            assert_eq!(found(), Some(second.join("tool")), "{path:?}");
            assert_eq!(found_by(65_534), Some(first.join("tool")), "{path:?}");
            assert_eq!(found_by(65_533), Some(second.join("tool")), "{path:?}");
            chown(&path, Some(0), None).unwrap();
        }
        // What a link leads to counts.
        std::fs::remove_file(first.join("tool")).unwrap();
        symlink(host.path().join("theirs"), first.join("tool")).unwrap();
        std::fs::write(host.path().join("theirs"), "").unwrap();
        set_mode(&host.path().join("theirs"), 0o757);
        assert_eq!(found(), Some(second.join("tool")));
        assert_eq!(
            tool("sh")
                .and_then(|path| path.parent().map(Path::to_path_buf))
                .map(|folder| PATH.split(':').any(|known| folder == Path::new(known))),
            Some(true)
        );
    }

    #[test]
    fn brew_alone_is_looked_for_where_homebrew_is() {
        let has = |name| folders_of(name).any(|folder| folder.starts_with("/home/linuxbrew"));
        assert!(has("brew") && !has("sh"));
    }

    #[test]
    fn a_tool_is_given_a_fixed_environment() {
        let names: Vec<String> = of_tools().into_keys().collect();
        let fixed = ["FLEETWRIGHT_COMMAND_ID", "HOME", "LANG", "LC_ALL", "PATH"];
        assert!(
            names.iter().all(|name| fixed.contains(&name.as_str())),
            "{names:?}"
        );
        assert_eq!(of_tools()["PATH"], PATH);
    }
}
