//! Deployments that are put back: exactly, and only while they are what was deployed.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use fleetwright_protocol::ExecutionOptions;
use fleetwright_protocol::SecretValues;
use fleetwright_protocol::operation::DeployFile;
use fleetwright_protocol::outcome::{FailureReason, OutcomeStatus};

use super::super::tests::{anywhere, has_extended, with_acl};
use super::super::{Manner, Stop, deploy, extended};
use super::*;
use crate::accounts;

/// What the log of a plan has, as it is read again.
type Noted = Vec<(Undo, Change)>;

struct Host {
    folder: tempfile::TempDir,
    run: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            run: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Deploys as a plan does. `before` is done when all is noted and nothing is changed yet.
    fn deploy_as(
        &self,
        options: &ExecutionOptions,
        path: &Path,
        step: u32,
        content: &str,
        stops: bool,
    ) -> (fleetwright_protocol::Outcome, Noted) {
        let file = DeployFile {
            path: path.to_str().unwrap().to_owned(),
            content: Some(content.to_owned()),
            create_parents: true,
            ..DeployFile::default()
        };
        let mut noted = Noted::new();
        let mut note = |undo: Undo, change: Change| {
            let text = serde_json::to_string(&(undo, change)).unwrap();
            noted.push(serde_json::from_str(&text).unwrap());
            let is_last = noted
                .last()
                .is_some_and(|(_, change)| change.written.is_some());
            if stops && is_last {
                Err("the machine went down".to_owned())
            } else {
                Ok(())
            }
        };
        let mut keeper = Keeper::new(self.run.path(), &format!("saved-{step}"), &mut note).unwrap();
        let manner = Manner {
            options,
            id: "test",
            stop: &Stop::after_seconds(60),
            guard: &anywhere(),
        };
        let content = Content::carried(&file, &SecretValues::new())
            .unwrap()
            .unwrap();
        let outcome = deploy(&file, content, &manner, Some(&mut keeper));
        drop(keeper);
        (outcome, noted)
    }

    fn deploy(&self, path: &Path, content: &str) -> Noted {
        let (outcome, noted) =
            self.deploy_as(&ExecutionOptions::default(), path, 0, content, false);
        assert_eq!(
            outcome.status,
            OutcomeStatus::Succeeded,
            "{}",
            outcome.message
        );
        noted
    }

    /// In the order of a rollback.
    fn restore(&self, noted: &Noted) -> Result<(), String> {
        noted.iter().rev().try_for_each(|(undo, change)| {
            restore(undo, Some(change), self.run.path(), &anywhere(), true)
        })
    }
}

#[test]
fn whatever_stood_there_is_put_back_exactly() {
    let host = Host::new();
    let path = host.path("motd");
    std::fs::write(&path, [0, 255, 10]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4751)).unwrap();
    let before = std::fs::metadata(&path).unwrap();
    let noted = host.deploy(&path, "new");
    let copy = std::fs::metadata(host.run.path().join("saved-0")).unwrap();
    assert_eq!(
        copy.mode() & 0o777,
        0o600,
        "a copy is nobody else's to read"
    );
    for _ in 0..2 {
        host.restore(&noted).unwrap();
        let after = std::fs::metadata(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0, 255, 10]);
        assert_eq!(
            (after.mode(), after.uid(), after.gid(), after.mtime_nsec()),
            (
                before.mode(),
                before.uid(),
                before.gid(),
                before.mtime_nsec()
            )
        );
    }
    let link = host.path("link");
    symlink("elsewhere/\u{e9}", &link).unwrap();
    let noted = host.deploy(&link, "new");
    for _ in 0..2 {
        host.restore(&noted).unwrap();
        let target = std::fs::read_link(&link).unwrap();
        assert_eq!(target.to_str(), Some("elsewhere/\u{e9}"));
    }
    assert_eq!(std::fs::read_dir(host.folder.path()).unwrap().count(), 2);
}

#[test]
fn extended_attributes_are_put_back_and_those_of_the_new_file_are_not_left() {
    let host = Host::new();
    let path = host.path("motd");
    std::fs::write(&path, "old").unwrap();
    let old = File::open(&path).unwrap();
    if !has_extended(&old) {
        return;
    }
    extended::write(old.as_fd(), &with_acl()).unwrap();
    let noted = host.deploy(&path, "new");
    host.restore(&noted).unwrap();
    let found = extended::read(File::open(&path).unwrap().as_fd()).unwrap();
    assert_eq!(comparable(found), with_acl());
    // One that somebody sets on what was deployed is theirs.
    let noted = host.deploy(&path, "newer");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&path, "user.note", b"theirs", flags).unwrap();
    assert!(host.restore(&noted).unwrap_err().contains("left as it is"));
}

#[test]
fn where_nothing_was_nothing_is_left_but_what_others_put_there() {
    for others in [false, true] {
        let host = Host::new();
        let path = host.path("a/b/file");
        let noted = host.deploy(&path, "new");
        if others {
            std::fs::write(host.path("a/theirs"), "").unwrap();
        }
        host.restore(&noted).unwrap();
        host.restore(&noted).unwrap();
        assert!(!host.path("a/b").exists());
        assert_eq!(host.path("a").exists(), others);
    }
}

#[test]
fn what_others_have_made_of_it_since_is_left_as_it_is() {
    /// What others do to a file.
    type Doing = fn(&Path);
    let changes: [(&str, Doing); 7] = [
        ("other bytes", |path| std::fs::write(path, "ben").unwrap()),
        ("more bytes", |path| {
            std::fs::write(path, "new and more").unwrap()
        }),
        ("another mode", |path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap()
        }),
        ("removed", |path| std::fs::remove_file(path).unwrap()),
        ("a link", |path| {
            std::fs::remove_file(path).unwrap();
            symlink("theirs", path).unwrap();
        }),
        ("another file with the same bytes", |path| {
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(copy, path).unwrap();
        }),
        ("a folder", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
    ];
    for stood in [None, Some("old")] {
        for (what, change) in changes {
            let host = Host::new();
            let path = host.path("x");
            if let Some(stood) = stood {
                std::fs::write(&path, stood).unwrap();
            }
            let noted = host.deploy(&path, "new");
            change(&path);
            let state = || {
                (
                    std::fs::symlink_metadata(&path)
                        .map(|found| (found.ino(), found.mode()))
                        .ok(),
                    std::fs::read(&path).ok(),
                )
            };
            let theirs = state();
            let lasting = noted[0].1.written.as_ref().unwrap().inode.is_some();
            let restored = host.restore(&noted);
            if what == "another file with the same bytes" && !lasting {
                continue;
            }
            assert_eq!(state(), theirs, "{what} {stood:?}");
            // Where nothing was, nothing is what it was.
            let as_before = what == "removed" && stood.is_none();
            assert_eq!(restored.is_ok(), as_before, "{what} {stood:?} {restored:?}");
        }
    }
}

#[test]
fn two_deployments_of_one_file_are_put_back_one_after_the_other() {
    let host = Host::new();
    let path = host.path("x");
    std::fs::write(&path, "old").unwrap();
    let options = ExecutionOptions::default();
    let (_, first) = host.deploy_as(&options, &path, 0, "one", false);
    let (_, second) = host.deploy_as(&options, &path, 1, "two", false);
    host.restore(&second).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    // It is another file by now, with what was in it, whatever number it was given.
    let (undo, change) = &first[0];
    restore(undo, Some(change), host.run.path(), &anywhere(), false).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[test]
fn what_was_about_to_change_when_the_machine_went_down_is_as_it_was() {
    for stood in [None, Some("old")] {
        let host = Host::new();
        let path = host.path("a/x");
        if let Some(stood) = stood {
            std::fs::create_dir(host.path("a")).unwrap();
            std::fs::write(&path, stood).unwrap();
        }
        let (outcome, noted) = host.deploy_as(&ExecutionOptions::default(), &path, 0, "new", true);
        assert_eq!(outcome.status, OutcomeStatus::Failed);
        host.restore(&noted).unwrap();
        assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), stood);
        assert_eq!(host.path("a").exists(), stood.is_some());
    }
}

#[test]
fn nothing_is_kept_of_what_is_not_changed_or_may_not_be() {
    let host = Host::new();
    std::fs::set_permissions(host.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = host.path("secret");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(host.deploy(&path, "old").is_empty());
    if accounts::is_root() {
        let options = ExecutionOptions {
            run_as: Some("nobody".to_owned()),
            ..ExecutionOptions::default()
        };
        for path in [path.clone(), host.path("new")] {
            let (outcome, noted) = host.deploy_as(&options, &path, 0, "new", false);
            assert_eq!(outcome.reason, Some(FailureReason::AgentError));
            assert!(noted.is_empty(), "{noted:?}");
        }
    }
    assert_eq!(
        std::fs::read_dir(host.run.path()).unwrap().count(),
        0,
        "no copy is left"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[test]
fn it_is_put_back_with_the_rights_of_who_deployed_it() {
    if !accounts::is_root() {
        return;
    }
    let host = Host::new();
    let folder = host.path("theirs");
    std::fs::set_permissions(host.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let nobody = accounts::account("nobody").unwrap().unwrap().ids;
    let chown = |owner| std::os::unix::fs::chown(&folder, Some(owner), None).unwrap();
    chown(nobody.user);
    let options = ExecutionOptions {
        run_as: Some("nobody".to_owned()),
        ..ExecutionOptions::default()
    };
    let path = folder.join("x");
    let (outcome, noted) = host.deploy_as(&options, &path, 0, "new", false);
    assert_eq!(
        outcome.status,
        OutcomeStatus::Succeeded,
        "{}",
        outcome.message
    );
    assert_eq!(noted[0].1.account, Some(nobody.clone()));
    // The folder is taken from them: they may not remove the file any more, and nobody does it for them.
    chown(0);
    assert!(host.restore(&noted).unwrap_err().contains("denied"));
    assert!(path.exists());
    chown(nobody.user);
    host.restore(&noted).unwrap();
    assert!(!path.exists());
}

#[test]
fn what_an_older_agent_has_noted_is_left_as_it_is() {
    let host = Host::new();
    let path = host.path("x");
    let noted = host.deploy(&path, "new");
    let without = restore(&noted[0].0, None, host.run.path(), &anywhere(), true);
    assert!(without.unwrap_err().contains("older agent"));
    assert!(path.exists());
}

#[test]
fn folders_around_what_the_policy_allows_stay_and_the_rest_is_put_back() {
    let host = Host::new();
    let (made, file) = (host.path("made"), host.path("made/allowed/deep/file"));
    let noted = host.deploy(&file, "new");
    let policy = serde_json::json!({"allow": [host.path("made/allowed")]});
    let policy: crate::guard::PathPolicy = serde_json::from_value(policy).unwrap();
    for (undo, change) in noted.iter().rev() {
        restore(undo, Some(change), host.run.path(), &policy.guard(), true).unwrap();
    }
    assert!(!host.path("made/allowed").join("deep").exists());
    assert!(made.is_dir());
}
