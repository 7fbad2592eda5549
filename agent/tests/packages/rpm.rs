//! dnf, yum (which is dnf under its old name) and zypper, with a repository of packages made by rpmbuild.

use crate::root::{PrivateRoot, tool};
use crate::story::{COMMON, VERSIONS, play};

fn root() -> PrivateRoot {
    let root = PrivateRoot::new();
    root.folders(&[
        "repo",
        "log",
        "persist",
        "root/etc/zypp/repos.d",
        "root/var/lib/rpm",
    ]);
    // Debian's rpm would keep its database in the home folder.
    root.write("home/.rpmmacros", "%_dbpath /var/lib/rpm\n");
    for (name, version) in [("fw-one", "1.0"), ("fw-one", "1.1"), ("fw-two", "2.0")] {
        let text = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: test\nLicense: none\nBuildArch: noarch\n%description\ntest\n%files\n"
        );
        root.write("package.spec", &text);
        let here = root.path("").display().to_string();
        let top = format!("_topdir {here}build");
        let repo = format!("_rpmdir {here}repo");
        let words = [
            "rpmbuild",
            "-bb",
            "--quiet",
            "--define",
            &top,
            "--define",
            &repo,
            "package.spec",
        ];
        tool(&root.path(""), &words);
    }
    tool(&root.path(""), &["createrepo_c", "--quiet", "repo"]);
    let source = format!(
        "[fw]\nname=fw\nbaseurl=file://{}\ngpgcheck=0\nenabled=1\nautorefresh=0\ntype=rpm-md\n",
        root.path("repo").display()
    );
    root.write("repos/fw.repo", &source);
    root.write("root/etc/zypp/repos.d/fw.repo", &source);
    root
}

fn dnf_root(name: &str) -> PrivateRoot {
    let mut root = root();
    root.enclose(
        name,
        r#"export HOME=@/home
case "$tool" in
dnf | yum) exec dnf --installroot=@/root --releasever=1 --setopt=reposdir=@/repos --setopt=cachedir=@/cache \
    --setopt=logdir=@/log --setopt=persistdir=@/persist --setopt=pluginpath=/nowhere "$@" ;;
rpm) exec rpm --root @/root "$@" ;;
esac"#,
    );
    root
}

fn zypper_root() -> PrivateRoot {
    let mut root = root();
    root.enclose(
        "zypper",
        r#"export HOME=@/home ZYPP_LOGFILE=@/log/zypper.log
case "$tool" in
zypper | rpm) exec "$tool" --root @/root "$@" ;;
esac"#,
    );
    root
}

#[test]
fn dnf_does_what_every_manager_does() {
    play(&dnf_root("dnf"), &COMMON);
}

#[test]
fn dnf_installs_the_version_asked_for() {
    let root = dnf_root("dnf");
    play(&root, &COMMON[..1]);
    play(&root, &VERSIONS);
}

#[test]
fn yum_does_what_every_manager_does() {
    let root = dnf_root("yum");
    play(&root, &COMMON);
    play(&root, &VERSIONS);
}

#[test]
fn zypper_does_what_every_manager_does() {
    play(&zypper_root(), &COMMON);
}

#[test]
fn zypper_installs_the_version_asked_for() {
    let root = zypper_root();
    play(&root, &COMMON[..1]);
    play(&root, &VERSIONS);
}
