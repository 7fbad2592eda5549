//! The order of version texts, as each world defines it. It decides between the words "upgraded" and "downgraded" and
//! which of several versions is the newest; what may be installed is the manager's own decision.

use std::cmp::Ordering;

/// Debian policy, chapter 5.6.12: `[epoch:]upstream[-revision]`.
pub fn debian(one: &str, other: &str) -> Ordering {
    let (one, other) = (parts(one), parts(other));
    epoch(one.0)
        .cmp(&epoch(other.0))
        .then_with(|| debian_part(one.1, other.1))
        .then_with(|| debian_part(one.2.unwrap_or("0"), other.2.unwrap_or("0")))
}

/// The order of rpm and of pacman: `[epoch:]version[-release]`. Releases count only if both have one.
pub fn rpm(one: &str, other: &str) -> Ordering {
    let (one, other) = (parts(one), parts(other));
    epoch(one.0)
        .cmp(&epoch(other.0))
        .then_with(|| rpm_part(one.1, other.1))
        .then_with(|| match (one.2, other.2) {
            (Some(one), Some(other)) => rpm_part(one, other),
            (None, _) | (_, None) => Ordering::Equal,
        })
}

/// Alpine: as rpm, where the suffixes for what comes before a release sort before it.
pub fn alpine(one: &str, other: &str) -> Ordering {
    let early = |text: &str| {
        ["_alpha", "_beta", "_pre", "_rc"]
            .into_iter()
            .fold(text.to_owned(), |text, suffix| {
                text.replace(suffix, &suffix.replace('_', "~"))
            })
    };
    rpm(&early(one), &early(other))
}

/// FreeBSD: `version[_revision][,epoch]`.
pub fn freebsd(one: &str, other: &str) -> Ordering {
    let split = |text: &str| match text.split_once(',') {
        Some((version, epoch)) => (epoch.parse::<u64>().unwrap_or(0), version.to_owned()),
        None => (0, text.to_owned()),
    };
    let (one, other) = (split(one), split(other));
    one.0.cmp(&other.0).then_with(|| rpm_part(&one.1, &other.1))
}

/// Epoch, version, release.
fn parts(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (Some(epoch), rest),
        None => (None, text),
    };
    match rest.rsplit_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

fn epoch(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn debian_part(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (words, other_words);
        (words, one) = take(one, |byte| !byte.is_ascii_digit());
        (other_words, other) = take(other, |byte| !byte.is_ascii_digit());
        let (number, other_number);
        (number, one) = take(one, |byte| byte.is_ascii_digit());
        (other_number, other) = take(other, |byte| byte.is_ascii_digit());
        let found = debian_words(words, other_words).then_with(|| numbers(number, other_number));
        if found.is_ne() {
            return found;
        }
    }
    Ordering::Equal
}

/// Letters before all else, `~` even before the end.
fn debian_words(one: &str, other: &str) -> Ordering {
    let weight = |byte: Option<u8>| match byte {
        None => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(byte),
        Some(byte) => i32::from(byte) + 256,
    };
    let (mut one, mut other) = (one.bytes(), other.bytes());
    loop {
        let pair = (one.next(), other.next());
        if pair == (None, None) {
            return Ordering::Equal;
        }
        let found = weight(pair.0).cmp(&weight(pair.1));
        if found.is_ne() {
            return found;
        }
    }
}

fn rpm_part(mut one: &str, mut other: &str) -> Ordering {
    let separates = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'~' && byte != b'^';
    loop {
        one = take(one, separates).1;
        other = take(other, separates).1;
        // `~` sorts before everything, also the end; `^` after the end and before everything else.
        for (mark, against_end) in [('~', Ordering::Less), ('^', Ordering::Greater)] {
            match (one.strip_prefix(mark), other.strip_prefix(mark)) {
                (Some(_), Some(_)) | (None, None) => {}
                (Some(_), None) if other.is_empty() => return against_end,
                (None, Some(_)) if one.is_empty() => return against_end.reverse(),
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
            }
        }
        if let (Some(rest), Some(other_rest)) =
            (one.strip_prefix(['~', '^']), other.strip_prefix(['~', '^']))
        {
            (one, other) = (rest, other_rest);
            continue;
        }
        if one.is_empty() || other.is_empty() {
            return one.len().min(1).cmp(&other.len().min(1));
        }
        let digits = one.starts_with(|first: char| first.is_ascii_digit());
        let of_kind = |byte: u8| {
            if digits {
                byte.is_ascii_digit()
            } else {
                byte.is_ascii_alphabetic()
            }
        };
        let (piece, other_piece);
        (piece, one) = take(one, of_kind);
        (other_piece, other) = take(other, of_kind);
        let found = match (other_piece.is_empty(), digits) {
            // A number is newer than letters.
            (true, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, true) => numbers(piece, other_piece),
            (false, false) => piece.cmp(other_piece),
        };
        if found.is_ne() {
            return found;
        }
    }
}

/// Digits of any length.
fn numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

fn take(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !belongs(byte))
        .unwrap_or(text.len());
    // A version has ASCII characters only; of anything else nothing is cut in two.
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn debian_versions_sort_as_its_policy_says() {
        for (older, newer) in [
            ("1.0-1", "1.0-2"),
            ("1.0~rc1-1", "1.0-1"),
            ("1.9", "1.10"),
            ("9.0", "1:0.1"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("1.0-1+deb12u1", "1.0-1+deb12u2"),
            ("1.0a", "1.0+"),
            ("1.0~~", "1.0~"),
            ("7.88.1-10+deb12u5", "7.88.1-10+deb12u12"),
        ] {
            assert_eq!(debian(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(debian(newer, older), Ordering::Greater, "{older} {newer}");
        }
        assert_eq!(debian("0:1.0", "1.0-0"), Ordering::Equal);
    }

    #[test]
    fn debian_versions_sort_as_dpkg_sorts_them() {
        let versions = [
            "1.0", "1.0-1", "1.0~rc1", "1.0+b1", "1:0.1", "1.0a", "1.0.0", "1.10", "1.9-2", "1.0-0",
        ];
        for (one, other) in versions
            .iter()
            .flat_map(|one| versions.map(|other| (*one, other)))
        {
            let says = |relation: &str| {
                let words = ["--compare-versions", one, relation, other];
                let status = std::process::Command::new("dpkg").args(words).status();
                status.expect("dpkg runs").success()
            };
            let expected = match (says("lt"), says("gt")) {
                (true, _) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => Ordering::Equal,
            };
            assert_eq!(debian(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn rpm_versions_sort_as_rpm_does() {
        for (older, newer) in [
            ("1.0-1", "1.0-2"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0^git1"),
            ("1.0^git1", "1.0.1"),
            ("1.0^git1", "1.1"),
            ("1.a", "1.1"),
            ("1.0", "1.0a"),
            ("2.0", "1:1.0"),
            ("5.14.0-70", "5.14.0-162"),
            ("1.0~rc1", "1.0~rc2"),
        ] {
            assert_eq!(rpm(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(rpm(newer, older), Ordering::Greater, "{older} {newer}");
        }
        assert_eq!(rpm("1.0", "1.0-7"), Ordering::Equal);
        assert_eq!(rpm("1.05", "1_5"), Ordering::Equal);
    }

    #[test]
    fn alpine_and_freebsd_versions_sort_as_theirs_do() {
        assert_eq!(alpine("1.2_rc1-r0", "1.2-r0"), Ordering::Less);
        assert_eq!(alpine("1.2-r2", "1.2-r10"), Ordering::Less);
        assert_eq!(freebsd("2.0", "1.0,1"), Ordering::Less);
        assert_eq!(freebsd("1.0_1", "1.0_2"), Ordering::Less);
    }

    proptest! {
        #[test]
        fn every_order_is_one(
            one in "[0-9a-c~^.+:-]{0,8}",
            two in "[0-9a-c~^.+:-]{0,8}",
            three in "[0-9a-c~.+:-]{0,8}",
        ) {
            for order in [debian, alpine, freebsd, rpm] {
                prop_assert_eq!(order(&one, &one), Ordering::Equal);
                prop_assert_eq!(order(&one, &two), order(&two, &one).reverse());
            }
            let mut sorted = [&one, &two, &three];
            sorted.sort_by(|left, right| debian(left, right));
            prop_assert_ne!(debian(sorted[0], sorted[2]), Ordering::Greater);
        }
    }
}
