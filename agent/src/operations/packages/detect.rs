//! Which package manager a host has: what the configuration says, else the family that the system says it belongs to,
//! else whatever is there.

use std::fs;
use std::path::Path;

use super::apk::Apk;
use super::apt::Apt;
use super::brew::Brew;
use super::dnf::Dnf;
use super::family::Family;
use super::freebsd::Pkg;
use super::pacman::Pacman;
use super::zypper::Zypper;
use crate::operations::surroundings::is_installed;

static DNF: Dnf = Dnf {
    tool: "dnf",
    programs: &["dnf", "rpm"],
};
static YUM: Dnf = Dnf {
    tool: "yum",
    programs: &["yum", "rpm"],
};
/// In the order of trying, where the system does not say which is its own. Homebrew last: it comes on top of one.
static FAMILIES: [&dyn Family; 8] = [&Apt, &DNF, &YUM, &Zypper, &Apk, &Pacman, &Pkg, &Brew];

/// Where the system says what it is (systemd's os-release).
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The package manager of a host.
#[derive(Clone, Debug)]
pub struct Manager {
    pub(super) family: &'static dyn Family,
    /// Put in front of each call's own words, which begin with the tool's name.
    pub(super) prefix: Vec<String>,
}

impl Manager {
    /// Which manager this host has.
    ///
    /// `configured` is the setting `[system] package_manager`. It names the manager (`apt` or `apt-get`, `dnf`, `yum`,
    /// `zypper`, `apk`, `pacman`, `brew`, `pkg`) in one of two ways. Either way it is put in front of every call and
    /// replaces no tool: a manager is more than one (apt is `apt-get`, `apt-cache` and `dpkg-query`).
    /// - The last word is the name, plain or in `/usr/bin` and its like: `["dnf"]`, `["sudo", "-n", "apt-get"]`. The
    ///   words before it are put in front: `sudo -n dpkg-query …`.
    /// - A word is the path of a program by that name somewhere else, `["/opt/in-root/apt"]`. All the words are put in
    ///   front, so that program is given each call, the tool's name first: `/opt/in-root/apt dpkg-query …`, and for
    ///   calls that set variables `/opt/in-root/apt env NAME=value … apt-get …`.
    ///
    /// With words in front, whether the agent may change packages is left to them: they may be what gives the right.
    pub fn detect(configured: Option<&[String]>) -> Result<Self, String> {
        if let Some(words) = configured {
            return choose(words);
        }
        let about = OS_RELEASE
            .iter()
            .find_map(|path| fs::read_to_string(path).ok())
            .unwrap_or_default();
        candidates(&about)
            .into_iter()
            .find(|family| family.programs().iter().all(|tool| is_installed(tool)))
            .map(|family| Self {
                family,
                prefix: Vec::new(),
            })
            .ok_or_else(|| {
                let names: Vec<&str> = FAMILIES.iter().map(|family| family.name()).collect();
                format!(
                    "this host has none of the package managers {}",
                    names.join(", ")
                )
            })
    }

    pub fn name(&self) -> &'static str {
        self.family.name()
    }
}

/// See [`Manager::detect`].
fn choose(words: &[String]) -> Result<Manager, String> {
    if let Some((last, before)) = words.split_last()
        && let Some(family) = family_of(last)
        && is_plain(last)
    {
        return Ok(Manager {
            family,
            prefix: before.to_vec(),
        });
    }
    words
        .iter()
        .filter(|word| !is_plain(word) && !word.contains('='))
        .find_map(|word| family_of(word))
        .map(|family| Manager {
            family,
            prefix: words.to_vec(),
        })
        .ok_or_else(|| {
            format!(
                "package_manager is `{}`: it neither ends with the name of a package manager nor has a program of that name",
                words.join(" ")
            )
        })
}

/// A manager itself, not a program in front of its tools.
fn is_plain(word: &str) -> bool {
    match Path::new(word).parent() {
        None => true,
        Some(folder) => ["", "/bin", "/sbin", "/usr/bin", "/usr/sbin"]
            .iter()
            .any(|plain| folder == Path::new(plain)),
    }
}

/// By the word's file name.
fn family_of(word: &str) -> Option<&'static dyn Family> {
    let name = match Path::new(word).file_name()?.to_str()? {
        "apt-get" => "apt",
        "dnf5" => "dnf",
        name => name,
    };
    FAMILIES
        .iter()
        .find(|family| family.name() == name)
        .copied()
}

/// All of them, those the system calls its own first: a Fedora may have apt installed, and a Debian dnf.
fn candidates(os_release: &str) -> Vec<&'static dyn Family> {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim().trim_matches(['"', '\'']))
            .unwrap_or_default()
    };
    let own = value("ID")
        .split_whitespace()
        .chain(value("ID_LIKE").split_whitespace())
        .find_map(names_of)
        .unwrap_or_default();
    let is_own = |family: &&dyn Family| own.contains(&family.name());
    let (first, rest): (Vec<_>, Vec<_>) = FAMILIES.iter().copied().partition(is_own);
    [first, rest].concat()
}

/// The managers of a system by its os-release id.
fn names_of(id: &str) -> Option<&'static [&'static str]> {
    match id {
        "debian" | "ubuntu" => Some(&["apt"]),
        "fedora" | "rhel" | "centos" | "amzn" => Some(&["dnf", "yum"]),
        "suse" | "opensuse" | "sles" => Some(&["zypper"]),
        "alpine" => Some(&["apk"]),
        "arch" => Some(&["pacman"]),
        "freebsd" => Some(&["pkg"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(words: &[&str]) -> Result<(&'static str, Vec<String>), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Manager::detect(Some(&words)).map(|manager| (manager.name(), manager.prefix))
    }

    #[test]
    fn a_configured_manager_is_told_by_its_name() {
        for (words, name, prefix) in [
            (&["dnf"][..], "dnf", &[][..]),
            (&["apt-get"], "apt", &[]),
            (&["sudo", "-n", "zypper"], "zypper", &["sudo", "-n"]),
            (&["env", "A=/b/dnf", "apt-get"], "apt", &["env", "A=/b/dnf"]),
            (
                &["sudo", "-u", "brew", "brew"],
                "brew",
                &["sudo", "-u", "brew"],
            ),
            (&["/usr/bin/yum"], "yum", &[]),
            (&["/opt/in-root/pacman"], "pacman", &["/opt/in-root/pacman"]),
            (
                &["/bin/sh", "/opt/in-root/apt", "/srv"],
                "apt",
                &["/bin/sh", "/opt/in-root/apt", "/srv"],
            ),
        ] {
            let prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(chosen(words), Ok((name, prefix)), "{words:?}");
        }
        for bad in [
            &["chroot", "/srv"][..],
            &["apt-get", "--root=/x"],
            &["/usr/bin/true"],
        ] {
            assert!(chosen(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_system_is_asked_for_its_own_manager_first() {
        let first = |text: &str| candidates(text).first().map(|family| family.name());
        for (text, expected) in [
            ("ID=debian\n", "apt"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt"),
            (
                "NAME=x\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
                "dnf",
            ),
            ("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n", "zypper"),
            ("ID=alpine\n", "apk"),
            ("ID=manjaro\nID_LIKE=arch\n", "pacman"),
            ("ID=freebsd\n", "pkg"),
            ("", "apt"),
        ] {
            assert_eq!(first(text), Some(expected), "{text}");
            assert_eq!(candidates(text).len(), FAMILIES.len());
        }
    }
}
