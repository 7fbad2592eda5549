//! What apt says and is asked, as tables.

use super::*;
use crate::operations::tools::said;

#[test]
fn dpkg_states_are_told_apart() {
    for (status, expected) in [
        ("ii ", "installed"),
        ("hi ", "installed"),
        ("it ", "installed"),
        ("rc ", "remains"),
        ("un ", "absent"),
        ("iU ", "broken"),
        ("iF ", "broken"),
        ("iH ", "broken"),
        ("iW ", "broken"),
        ("iiR", "broken"),
    ] {
        let text = format!("a\tall\tno\ta\t{status}\t1.0\n");
        let states = Apt.read_states(&["a"], &said(0, &text, "")).unwrap();
        let found = match &states["a"] {
            State::Absent => "absent",
            State::Remains { .. } => "remains",
            State::Broken { .. } => "broken",
            State::Installed { .. } => "installed",
        };
        assert_eq!(found, expected, "{status}");
    }
    assert!(Apt.read_states(&["a"], &said(2, "", "")).is_err());
}

#[test]
fn a_package_of_another_architecture_is_another_package() {
    let text = "libc6\tamd64\tsame\tlibc6:amd64\tii \t2.36-9\nlibc6\ti386\tsame\tlibc6:i386\trc \t2.36-9\nwine32\ti386\tforeign\twine32:i386\tii \t8.0\nbash\tamd64\tforeign\tbash\tii \t5.2\n";
    let names = [
        "libc6",
        "libc6:i386",
        "wine32",
        "wine32:i386",
        "bash",
        "bash:amd64",
    ];
    let states = Apt.read_states(&names, &said(0, text, "")).unwrap();
    let found: Vec<_> = names.iter().map(|name| states[*name].newest()).collect();
    assert_eq!(
        found,
        [
            Some("2.36-9"),
            None,
            None,
            Some("8.0"),
            Some("5.2"),
            Some("5.2")
        ]
    );
}

// As apt 2.6.1 prints it.
const POLICY: &str = "fw-one:
  Installed: 1.0-1
  Candidate: 1.1-1
  Version table:
     1.1-1 500
        500 file:/srv/repo ./ Packages
 *** 1.0-1 500
        500 file:/srv/repo ./ Packages
        100 /var/lib/dpkg/status
mail-transport-agent:
  Installed: (none)
  Candidate: (none)
  Version table:
libc6:i386:
  Installed: (none)
  Candidate: 2.36-9
  Version table:
     2.36-9 500
        500 http://deb.debian.org/debian bookworm/main i386 Packages
";

#[test]
fn apt_offers_what_has_a_candidate() {
    let names = [
        "fw-one",
        "mail-transport-agent",
        "nope",
        "libc6:i386",
        "fw-one:amd64",
    ];
    let offers = Apt.read_offers(&names, &said(0, POLICY, "")).unwrap();
    assert_eq!(offers["fw-one"].preferred, "1.1-1");
    assert_eq!(offers["fw-one"].versions, ["1.1-1", "1.0-1"]);
    assert_eq!(offers["libc6:i386"].preferred, "2.36-9");
    assert_eq!(offers["fw-one:amd64"], offers["fw-one"]);
    assert_eq!(offers.len(), 3);
    assert!(Apt.read_offers(&names, &said(100, "", "")).is_err());
}

#[test]
fn apt_never_asks_and_keeps_changed_configuration() {
    let pick = |name, version| Pick { name, version };
    let words = Apt
        .install(&[pick("a", None), pick("b", Some("1:2.0-3"))])
        .join(" ");
    for needed in [
        "env DEBIAN_FRONTEND=noninteractive",
        "NEEDRESTART_MODE=l",
        "--force-confold",
        "DPkg::Lock::Timeout",
        "--allow-downgrades install -- a b=1:2.0-3",
    ] {
        assert!(words.contains(needed), "{needed}: {words}");
    }
    let unpinned = Apt.install(&[pick("a", None)]).join(" ");
    assert!(!unpinned.contains("--allow-downgrades"));
    assert!(Apt.remove(&["a"], true).join(" ").ends_with(" purge -- a"));
    assert!(
        Apt.remove(&["a"], false)
            .join(" ")
            .ends_with(" remove -- a")
    );
}
