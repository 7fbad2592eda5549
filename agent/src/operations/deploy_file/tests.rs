//! Deployments into temporary folders.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetwright_protocol::outcome::OutcomeStatus;
use fleetwright_protocol::{SecretRef, SecretValue, SecretValues};

use super::*;

fn file(path: &Path, content: &str) -> DeployFile {
    DeployFile {
        path: path.to_str().unwrap().to_owned(),
        content: Some(content.to_owned()),
        ..DeployFile::default()
    }
}

fn run_with(file: &DeployFile, options: &ExecutionOptions) -> Outcome {
    let content = Content::carried(file, &SecretValues::new())
        .unwrap()
        .unwrap();
    let stop = Stop::after_seconds(60);
    deploy_with(file, options, content, &stop)
}

fn deploy_with(
    file: &DeployFile,
    options: &ExecutionOptions,
    content: Content,
    stop: &Stop,
) -> Outcome {
    let manner = Manner {
        options,
        id: "test",
        stop,
        guard: &anywhere(),
    };
    deploy(file, content, &manner, None)
}

/// Lets a file be put everywhere.
pub(super) fn anywhere() -> Guard {
    crate::guard::PathPolicy::default().guard()
}

fn run(file: &DeployFile) -> Outcome {
    run_with(file, &ExecutionOptions::default())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether the file system keeps notes on files; asked without the code under test.
pub(super) fn has_extended(file: &File) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    let kept = rustix::fs::fsetxattr(file, "user.note", b"?", flags).is_ok();
    if !kept {
        println!("not here: this file system has no extended attributes");
    }
    kept
}

/// A note, and a list by which one more account may read.
pub(super) fn with_acl() -> Extended {
    let entry = |tag: u16, permissions: u16, id: u32| {
        let (tag, permissions) = (tag.to_le_bytes(), permissions.to_le_bytes());
        [&tag[..], &permissions[..], &id.to_le_bytes()[..]].concat()
    };
    const NOBODY_IN_PARTICULAR: u32 = u32::MAX;
    // Version 2; the owner, account 1234, the group, the mask, others. See acl(5).
    let mut list = 2_u32.to_le_bytes().to_vec();
    list.extend(entry(0x01, 6, NOBODY_IN_PARTICULAR));
    list.extend(entry(0x02, 4, 1_234));
    list.extend(entry(0x04, 4, NOBODY_IN_PARTICULAR));
    list.extend(entry(0x10, 4, NOBODY_IN_PARTICULAR));
    list.extend(entry(0x20, 0, NOBODY_IN_PARTICULAR));
    Extended::from([
        ("system.posix_acl_access".to_owned(), list),
        ("user.note".to_owned(), b"mine".to_vec()),
    ])
}

#[test]
fn new_content_keeps_the_access_control_list_and_what_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("motd");
    let extended = || {
        let mut found = extended::read(File::open(&path).unwrap().as_fd()).unwrap();
        found.retain(|name, _| !name.starts_with("security."));
        found
    };
    std::fs::write(&path, "old").unwrap();
    let old = File::open(&path).unwrap();
    if !has_extended(&old) {
        return;
    }
    extended::write(old.as_fd(), &with_acl()).unwrap();
    assert_eq!(mode(&path), 0o640);
    assert!(run(&file(&path, "new")).changed);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_eq!((mode(&path), extended()), (0o640, with_acl()));
    // A mode is what `chmod` makes of it: its group bits are the list's mask. A second time finds it so.
    let mut wanted = file(&path, "new");
    wanted.mode = Some("0660".to_owned());
    assert!(run(&wanted).changed);
    assert_eq!((mode(&path), extended().len()), (0o660, 2));
    assert!(!run(&wanted).changed);
}

#[test]
fn a_file_is_written_exactly_and_a_second_time_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("motd");
    let mut wanted = file(&path, "");
    wanted.content = None;
    wanted.content_base64 = Some(STANDARD.encode([0, 13, 10, 255]));
    wanted.mode = Some("0640".to_owned());
    let first = run(&wanted);
    assert_eq!(
        (first.status, first.changed),
        (OutcomeStatus::Succeeded, true),
        "{}",
        first.message
    );
    assert_eq!(std::fs::read(&path).unwrap(), [0, 13, 10, 255]);
    assert_eq!(mode(&path), 0o640);
    let again = run(&wanted);
    assert_eq!(
        (again.status, again.changed),
        (OutcomeStatus::Succeeded, false)
    );
    wanted.mode = Some("600".to_owned());
    assert!(run(&wanted).changed, "another mode is a change");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(names(folder.path()), ["motd"], "nothing is left over");
}

#[test]
fn what_is_not_said_stays_as_it_was_but_for_set_user_id_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tool");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4711)).unwrap();
    assert!(run(&file(&path, "new")).changed);
    assert_eq!(mode(&path), 0o711);
}

#[test]
fn a_backup_keeps_the_old_bytes_beside_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conf");
    let mut wanted = file(&path, "one");
    wanted.backup = true;
    run(&wanted);
    assert_eq!(
        names(folder.path()),
        ["conf"],
        "there was nothing to back up"
    );
    wanted.content = Some("two".to_owned());
    let outcome = run(&wanted);
    assert_eq!(names(folder.path()), ["conf", "conf.bak-test"]);
    assert_eq!(
        std::fs::read(folder.path().join("conf.bak-test")).unwrap(),
        b"one"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert!(
        outcome
            .message
            .contains(&format!("{}/conf.bak-test", folder.path().display()))
    );
}

#[test]
fn missing_folders_are_made_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/c.conf");
    let mut wanted = file(&path, "x");
    assert_eq!(run(&wanted).reason, Some(FailureReason::AgentError));
    wanted.create_parents = true;
    let dry = run_with(
        &wanted,
        &ExecutionOptions {
            dry_run: true,
            ..ExecutionOptions::default()
        },
    );
    assert!(dry.changed && !folder.path().join("a").exists());
    assert!(run(&wanted).changed);
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_dry_run_says_what_would_change_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let dry = ExecutionOptions {
        dry_run: true,
        ..ExecutionOptions::default()
    };
    assert!(run_with(&file(&path, "x"), &dry).changed);
    assert!(names(folder.path()).is_empty());
    std::fs::write(&path, "x").unwrap();
    assert!(!run_with(&file(&path, "x"), &dry).changed);
    assert!(
        run_with(&file(&path, "y"), &dry)
            .message
            .contains("would change the content")
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_link_among_the_parents_is_followed_only_if_root_alone_could_have_laid_it() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let door = folder.path().join("door");
    symlink("elsewhere", &door).unwrap();
    let try_all = |followed: bool, what: &str| {
        for create_parents in [false, true] {
            for path in ["door/file", "door/deeper/file"] {
                let mut wanted = file(&folder.path().join(path), "x");
                wanted.create_parents = create_parents;
                let outcome = run(&wanted);
                let succeeds = followed && (create_parents || path == "door/file");
                assert_eq!(
                    outcome.status == OutcomeStatus::Succeeded,
                    succeeds,
                    "{what} {path} {create_parents} {}",
                    outcome.message
                );
                if !followed {
                    let named = format!("{} is a symbolic link", door.display());
                    assert!(outcome.message.contains(&named), "{}", outcome.message);
                }
            }
        }
        assert_eq!(names(&elsewhere).is_empty(), !followed);
        for name in names(&elsewhere) {
            let path = elsewhere.join(name);
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        }
    };
    if !accounts::is_root() {
        return try_all(false, "not root's");
    }
    try_all(true, "root's");
    std::os::unix::fs::lchown(&door, Some(65_534), None).unwrap();
    try_all(false, "another account's");
    std::os::unix::fs::lchown(&door, Some(0), None).unwrap();
    let set_mode = |mode| {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (mode, followed) in [
        (0o775, false),
        (0o757, false),
        (0o1777, true),
        (0o755, true),
    ] {
        set_mode(mode);
        try_all(followed, &format!("in a folder of mode {mode:o}"));
    }
    // Round and round, and through a process.
    std::fs::remove_file(&door).unwrap();
    symlink("door", &door).unwrap();
    assert_eq!(
        run(&file(&door.join("file"), "x")).status,
        OutcomeStatus::Failed
    );
    let by_process = Path::new("/proc/self/root").join(folder.path().strip_prefix("/").unwrap());
    let outcome = run(&file(&by_process.join("file"), "x"));
    assert!(
        outcome.message.contains("/proc/self is a symbolic link"),
        "{}",
        outcome.message
    );
}

#[test]
fn a_link_at_the_place_itself_is_replaced_and_what_it_points_at_is_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let path = folder.path().join("link");
    symlink(&victim, &path).unwrap();
    assert!(run(&file(&path, "precious")).changed);
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    // A link planted under the temporary name is not written through either.
    symlink(&victim, folder.path().join(".fleetwright-test.tmp")).unwrap();
    assert!(run(&file(&path, "other")).changed);
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn folders_and_special_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("dir")).unwrap();
    let outcome = run(&file(&folder.path().join("dir"), "x"));
    assert!(
        outcome.message.contains("is a folder"),
        "{}",
        outcome.message
    );
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("sock")).unwrap();
    let outcome = run(&file(&folder.path().join("sock"), "x"));
    assert!(
        outcome.message.contains("not a regular file"),
        "{}",
        outcome.message
    );
}

#[test]
fn a_cancelled_or_late_deployment_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    std::fs::write(&path, "old").unwrap();
    let wanted = file(&path, "new");
    let stop = Stop::after_seconds(60);
    stop.cancel();
    for (stop, reason) in [
        (stop, FailureReason::Cancelled),
        (Stop::after_seconds(0), FailureReason::TimedOut),
    ] {
        let content = Content::carried(&wanted, &SecretValues::new())
            .unwrap()
            .unwrap();
        let outcome = deploy_with(&wanted, &ExecutionOptions::default(), content, &stop);
        assert_eq!(outcome.reason, Some(reason));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["f"]);
    }
}

#[test]
fn a_blob_is_copied_whole() {
    let folder = tempfile::tempdir().unwrap();
    let blob = folder.path().join("blob");
    let bytes: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&blob, &bytes).unwrap();
    let path = folder.path().join("copy");
    let mut wanted = file(&path, "");
    wanted.content = None;
    wanted.blob_sha256 = Some("0".repeat(64));
    for changed in [true, false] {
        let content = Content::File {
            file: File::open(&blob).unwrap(),
            bytes: 300_000,
        };
        let stop = Stop::after_seconds(60);
        let outcome = deploy_with(&wanted, &ExecutionOptions::default(), content, &stop);
        assert_eq!(outcome.changed, changed, "{}", outcome.message);
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// As root the file belongs to the other account and its rights decide; otherwise the agent says why it cannot.
#[test]
fn acting_as_another_account_uses_its_rights_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = ExecutionOptions {
        run_as: Some("nobody".to_owned()),
        ..ExecutionOptions::default()
    };
    let closed = run_with(&file(&folder.path().join("closed"), "x"), &options);
    assert_eq!(
        closed.reason,
        Some(FailureReason::AgentError),
        "{}",
        closed.message
    );
    if !accounts::is_root() {
        assert!(closed.message.contains("root"), "{}", closed.message);
        return;
    }
    let nobody = accounts::account("nobody").unwrap().unwrap().ids.user;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let open = folder.path().join("open");
    let outcome = run_with(&file(&open, "x"), &options);
    assert_eq!(
        outcome.status,
        OutcomeStatus::Succeeded,
        "{}",
        outcome.message
    );
    assert_eq!(std::fs::metadata(&open).unwrap().uid(), nobody);
}

#[test]
fn a_secret_is_deployed_exactly_for_its_owner_only_and_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let reference = SecretRef {
        secret: "a/key".to_owned(),
        version: Some(2),
    };
    let wanted = DeployFile {
        content: None,
        content_secret: Some(reference),
        ..file(&path, "")
    };
    let value = SecretValue::new(b"\0secret-bytes\xff\n".to_vec());
    let values = SecretValues::from([("a/key@2".to_owned(), value.clone())]);
    let content = Content::carried(&wanted, &values).unwrap().unwrap();
    let options = ExecutionOptions::default();
    let outcome = deploy_with(&wanted, &options, content, &Stop::after_seconds(60));
    assert_eq!(outcome.status, OutcomeStatus::Succeeded, "{outcome:?}");
    assert_eq!(std::fs::read(&path).unwrap(), value.bytes());
    assert_eq!(mode(&path), 0o600);
    assert!(!format!("{outcome:?}").contains("secret-bytes"));
    let missing = Content::carried(&wanted, &SecretValues::new()).unwrap_err();
    assert!(missing.to_string().contains("a/key"), "{missing}");
}
