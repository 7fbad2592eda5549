//! pacman, with a repository written by hand: Debian's repo-add lacks parts of its own.

use std::fs;

use crate::root::{PrivateRoot, tool};
use crate::story::{COMMON, play};

fn root() -> PrivateRoot {
    let mut root = PrivateRoot::new();
    root.folders(&["root/var/lib/pacman", "cache", "hooks", "repo"]);
    for (name, version) in [("fw-one", "1.1-1"), ("fw-two", "2.0-1")] {
        package(&root, name, version);
    }
    tool(
        &root.path("index"),
        &[
            "tar",
            "-czf",
            "../repo/fw.db",
            "fw-one-1.1-1",
            "fw-two-2.0-1",
        ],
    );
    let settings = "[options]
RootDir = @root
DBPath = @root/var/lib/pacman
CacheDir = @cache
LogFile = @pacman.log
HookDir = @hooks
GPGDir = @gpg
Architecture = any
SigLevel = Never
[fw]
Server = file://@repo
";
    let here = root.path("").display().to_string();
    root.write("pacman.conf", &settings.replace('@', &here));
    root.enclose(
        "pacman",
        r#"[ "$tool" = pacman ] && exec pacman --config @/pacman.conf "$@""#,
    );
    root
}

fn package(root: &PrivateRoot, name: &str, version: &str) {
    let built = format!("build/{name}");
    let about = format!(
        "pkgname = {name}\npkgbase = {name}\npkgver = {version}\npkgdesc = test\nurl = http://localhost\nbuilddate = 1\npackager = t\nsize = 1\narch = any\n"
    );
    root.write(&format!("{built}/.PKGINFO"), &about);
    root.write(&format!("{built}/usr/share/{name}/version"), version);
    let file = format!("{name}-{version}-any.pkg.tar.gz");
    let archive = root.path("repo").join(&file);
    let words = ["tar", "-czf", archive.to_str().unwrap(), ".PKGINFO", "usr"];
    tool(&root.path(&built), &words);
    let bytes = fs::metadata(&archive).unwrap().len();
    let entry = format!(
        "%FILENAME%\n{file}\n\n%NAME%\n{name}\n\n%VERSION%\n{version}\n\n%ARCH%\nany\n\n%CSIZE%\n{bytes}\n\n%ISIZE%\n1\n\n"
    );
    root.write(&format!("index/{name}-{version}/desc"), &entry);
}

#[test]
fn pacman_does_what_every_manager_does() {
    play(&root(), &COMMON);
}
