//! What the families on top of rpm share: asking its database, and its versions `[epoch:]version[-release]`.

use std::cmp::Ordering;

use super::family::{Call, State, States, call, no_answer};
use super::versions;
use crate::operations::tools::ToolOutput;

/// One package a line. No package name or version has a bar in it, and no sentence of rpm five of them.
const QUERY_FORMAT: &str = r"%{NAME}|%{ARCH}|%{EPOCHNUM}|%{VERSION}|%{RELEASE}|\n";
/// Architectures that rpm names may end in, as in `glibc.i686`.
const ARCHITECTURES: [&str; 9] = [
    "noarch", "x86_64", "i686", "i386", "aarch64", "armv7hl", "ppc64le", "s390x", "riscv64",
];

/// A line of five fields.
pub struct Line<'a> {
    name: &'a str,
    architecture: &'a str,
    pub version: String,
}

impl Line<'_> {
    pub fn answers(&self, name: &str) -> bool {
        self.name == name || (self.name, Some(self.architecture)) == split_architecture(name)
    }
}

pub fn query(names: &[&str]) -> Call {
    call(
        &["rpm", "--query", "--queryformat", QUERY_FORMAT, "--"],
        names,
    )
}

pub fn read_states(names: &[&str], said: &ToolOutput) -> Result<States, String> {
    let lines = lines(&said.stdout);
    let missing = |line: &&str| line.starts_with("package ") && line.ends_with(" is not installed");
    let missing_count = said.stdout.lines().filter(missing).count();
    // The exit status counts the names that were not found; any other, or an error beside it, is another trouble: of a
    // damaged database rpm says that nothing is installed. A name that found another package (rpm also takes
    // `name-version`) is no package's name.
    let trusted = said.code.and_then(|code| usize::try_from(code).ok()) == Some(missing_count)
        && !said.stderr.contains("error:");
    let state_of = |name: &str| {
        let mut versions: Vec<String> = lines
            .iter()
            .filter(|line| line.answers(name))
            .map(|line| line.version.clone())
            .collect();
        versions.sort_by(|one, other| versions::rpm(one, other));
        versions.dedup();
        if !versions.is_empty() {
            Ok(State::Installed { versions })
        } else if trusted {
            Ok(State::Absent)
        } else {
            Err(format!("{} (about {name})", no_answer("rpm", said)))
        }
    };
    names
        .iter()
        .map(|name| Ok(((*name).to_owned(), state_of(name)?)))
        .collect()
}

/// What was printed in the form of [`QUERY_FORMAT`], by rpm or by dnf; other lines are passed over.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let line = |text| {
        let fields: Vec<&str> = str::split(text, '|').collect();
        let &[name, architecture, epoch, version, release, ""] = fields.as_slice() else {
            return None;
        };
        let version = match epoch {
            "0" | "(none)" => format!("{version}-{release}"),
            _ => format!("{epoch}:{version}-{release}"),
        };
        Some(Line {
            name,
            architecture,
            version,
        })
    };
    text.lines().filter_map(line).collect()
}

/// `1.0`, `1.0-1` and `0:1.0-1` all ask for 1.0-1.
pub fn fits(wanted: &str, version: &str) -> bool {
    let plain = |text: &'_ str| text.strip_prefix("0:").unwrap_or(text).to_owned();
    let (wanted, version) = (plain(wanted), plain(version));
    let without_epoch = version.split_once(':').map_or(&*version, |(_, rest)| rest);
    let without_release = |text: &'_ str| {
        text.rsplit_once('-')
            .map_or(text, |(rest, _)| rest)
            .to_owned()
    };
    wanted == version
        || wanted == without_epoch
        || wanted == without_release(&version)
        || wanted == without_release(without_epoch)
}

pub fn order(one: &str, other: &str) -> Ordering {
    versions::rpm(one, other)
}

/// `glibc.i686` is the name and the architecture.
pub fn split_architecture(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('.') {
        Some((plain, architecture)) if ARCHITECTURES.contains(&architecture) => {
            (plain, Some(architecture))
        }
        Some(_) | None => (name, None),
    }
}

/// The newest of `versions` first in the offer, all of them in it.
pub fn offer(mut versions: Vec<String>) -> Option<super::family::Offer> {
    versions.sort_by(|one, other| versions::rpm(other, one));
    versions.dedup();
    Some(super::family::Offer {
        preferred: versions.first()?.clone(),
        versions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::tools::said;

    #[test]
    fn rpm_is_read_for_every_name_or_not_at_all() {
        // As rpm 4.18 prints it.
        let text = "fw-one|noarch|0|1.0|1|\npackage nope is not installed\nkernel|x86_64|0|5.14.0|70|\nkernel|x86_64|0|5.14.0|162|\nglibc|i686|1|2.36|3|\n";
        let states = read_states(
            &["fw-one", "nope", "kernel", "glibc.i686"],
            &said(1, text, ""),
        )
        .unwrap();
        assert_eq!(states["nope"], State::Absent);
        assert_eq!(states["fw-one"].version().as_deref(), Some("1.0-1"));
        assert_eq!(states["kernel"].newest(), Some("5.14.0-162"));
        assert_eq!(states["glibc.i686"].newest(), Some("1:2.36-3"));
        assert_eq!(states.len(), 4);
        let other = read_states(&["fw-one-1.0"], &said(0, "fw-one|noarch|0|1.0|1|\n", "")).unwrap();
        assert_eq!(other["fw-one-1.0"], State::Absent);
        for (stdout, code) in [("", 1), ("package fw-one is not installed\n", 2)] {
            assert!(read_states(&["fw-one"], &said(code, stdout, "")).is_err());
        }
        // As of a file of random bytes.
        let damaged = said(
            1,
            "package fw-one is not installed\n",
            "error: cannot open Packages database in /var/lib/rpm\n",
        );
        assert!(read_states(&["fw-one"], &damaged).is_err());
    }

    #[test]
    fn a_version_may_be_asked_for_in_part() {
        for (wanted, version, expected) in [
            ("1.0", "1.0-1", true),
            ("1.0-1", "1.0-1", true),
            ("0:1.0-1", "1.0-1", true),
            ("2:1.0", "2:1.0-1", true),
            ("1.0-1", "2:1.0-1", true),
            ("1.0", "2:1.0-1", true),
            ("1", "1.0-1", false),
            ("1:1.0", "1.0-1", false),
            ("1.0-2", "1.0-1", false),
        ] {
            assert_eq!(fits(wanted, version), expected, "{wanted} {version}");
        }
    }
}
