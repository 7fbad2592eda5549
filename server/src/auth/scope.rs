//! What an API token is narrowed to. A scope names an area (the first part of a route's path, `fleet` with
//! everything under it, or `fleet.<part>`), optionally only for reading: `hosts`, `commands:read`, `fleet.bulk`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The area of whatever sets something to work on hosts, apart from where it is asked for: who may tag and approve hosts may not
/// run scripts on them.
pub const OPERATIONS: &str = "operations";

/// The one area that has parts, `fleet.<part>`.
const FLEET: &str = "fleet";

/// Areas a scope may name beside `fleet.<part>`. A test holds them against the route table.
pub const AREAS: [&str; 16] = [
    "agent",
    "audit",
    "blobs",
    "commands",
    "enrollment-tokens",
    "events",
    FLEET,
    "hosts",
    "license",
    "modules",
    OPERATIONS,
    "plans",
    "secrets",
    // No route's: to launch operations that name secrets.
    "secrets.use",
    "tokens",
    "users",
];

/// One area, for reading only or for everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Scope {
    area: String,
    read_only: bool,
}

/// A token's scopes. None at all means everything its role may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(pub Vec<Scope>);

/// The text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a scope")]
pub struct UnknownScope(pub String);

impl Scopes {
    /// Whether a request in `area` (as [`area_of`] gives it) is inside these scopes.
    pub fn allow(&self, area: &str, is_read: bool) -> bool {
        self.0.is_empty() || self.0.iter().any(|scope| scope.covers(area, is_read))
    }

    /// The places of those scopes that reach further than `outer`.
    pub fn outside(&self, outer: &Self) -> Vec<usize> {
        let places = self.0.iter().enumerate();
        let outside = places.filter(|(_, scope)| !outer.allow(&scope.area, scope.read_only));
        outside.map(|(place, _)| place).collect()
    }

    /// What both allow; none if that is nothing, which no scopes at all would not say.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.0.is_empty() || other.0.is_empty() {
            let narrower = if self.0.is_empty() { other } else { self };
            return Some(narrower.clone());
        }
        let mut both: Vec<Scope> = Vec::new();
        for one in &self.0 {
            for met in other.0.iter().filter_map(|other| one.meet(other)) {
                if !both.contains(&met) {
                    both.push(met);
                }
            }
        }
        (!both.is_empty()).then_some(Self(both))
    }
}

impl Scope {
    fn covers(&self, area: &str, is_read: bool) -> bool {
        // Only `fleet` has parts: who may set secrets has not therefore the right to use them.
        let within = area == self.area || (self.area == FLEET && area.starts_with("fleet."));
        within && (is_read || !self.read_only)
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        let narrower = if self.covers(&other.area, true) {
            other
        } else if other.covers(&self.area, true) {
            self
        } else {
            return None;
        };
        Some(Self {
            area: narrower.area.clone(),
            read_only: self.read_only || other.read_only,
        })
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let (area, read_only) = match text.strip_suffix(":read") {
            Some(area) => (area, true),
            None => (text, false),
        };
        let known = AREAS.contains(&area)
            || area.strip_prefix("fleet.").is_some_and(|part| {
                !part.is_empty()
                    && part.len() <= 64
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            });
        if known {
            Ok(Self {
                area: area.to_owned(),
                read_only,
            })
        } else {
            Err(UnknownScope(text.to_owned()))
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.area)?;
        if self.read_only {
            formatter.write_str(":read")?;
        }
        Ok(())
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl TryFrom<String> for Scope {
    type Error = UnknownScope;

    fn try_from(text: String) -> Result<Self, UnknownScope> {
        text.parse()
    }
}

/// The area of a request path: `/api/v1/hosts/…` is `hosts`, `/api/v1/fleet/bulk/…` is `fleet.bulk`.
pub fn area_of(path: &str) -> String {
    let mut parts = path.strip_prefix("/api/v1/").unwrap_or_default().split('/');
    let first = parts.next().unwrap_or_default();
    match (first, parts.next()) {
        ("fleet", Some(part)) if !part.is_empty() => format!("fleet.{part}"),
        (_, _) => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(texts: &[&str]) -> Scopes {
        Scopes(
            texts
                .iter()
                .map(|text| text.parse().expect("a scope"))
                .collect(),
        )
    }

    #[test]
    fn a_scope_covers_its_area_and_nothing_else() {
        let cases: &[(&[&str], &str, bool, bool)] = &[
            (&[], "users", false, true),
            (&["hosts"], "hosts", false, true),
            (&["hosts"], "commands", true, false),
            (&["hosts:read"], "hosts", true, true),
            (&["hosts:read"], "hosts", false, false),
            (&["fleet"], "fleet.bulk", false, true),
            (&["fleet:read"], "fleet.bulk", false, false),
            (&["fleet.bulk"], "fleet.bulk", false, true),
            (&["fleet.bulk"], "fleet.groups", true, false),
            (&["fleet.bulk"], "fleet", true, false),
            (&["hosts:read", "hosts"], "hosts", false, true),
            (&["secrets"], "secrets.use", false, false),
            (&["secrets.use"], "secrets", true, false),
            (&["secrets.use"], "secrets.use", false, true),
        ];
        for (texts, area, is_read, allowed) in cases {
            assert_eq!(
                scopes(texts).allow(area, *is_read),
                *allowed,
                "{texts:?} for {area}, read {is_read}"
            );
        }
    }

    #[test]
    fn what_is_outside_and_what_both_allow() {
        type Case = (
            &'static [&'static str],
            &'static [&'static str],
            &'static [usize],
            Option<&'static [&'static str]>,
        );
        let cases: &[Case] = &[
            (&[], &["hosts"], &[], Some(&["hosts"])),
            (&["hosts"], &[], &[], Some(&["hosts"])),
            (
                &["hosts", "users"],
                &["hosts:read"],
                &[0, 1],
                Some(&["hosts:read"]),
            ),
            (
                &["fleet.bulk", "fleet.bulk:read"],
                &["fleet"],
                &[],
                Some(&["fleet.bulk", "fleet.bulk:read"]),
            ),
            (
                &["fleet"],
                &["fleet.bulk", "fleet.groups:read"],
                &[0],
                Some(&["fleet.bulk", "fleet.groups:read"]),
            ),
            (&["fleet.bulk"], &["fleet.bulky"], &[0], None),
            (&["operations"], &["hosts", "fleet"], &[0], None),
            (&["secrets.use"], &["secrets"], &[0], None),
        ];
        for (inner, outer, outside, both) in cases {
            let (inner_scopes, outer_scopes) = (scopes(inner), scopes(outer));
            let found = inner_scopes.outside(&outer_scopes);
            assert_eq!(found, *outside, "{inner:?} in {outer:?}");
            assert_eq!(
                inner_scopes.meet(&outer_scopes),
                both.map(scopes),
                "{inner:?} and {outer:?}"
            );
        }
    }

    #[test]
    fn unknown_areas_are_refused_and_known_ones_round_trip() {
        for text in ["hosts", "hosts:read", "fleet", "fleet.bulk:read"] {
            assert_eq!(text.parse::<Scope>().expect("known").to_string(), text);
        }
        for text in ["", "host", "hosts:write", "fleet.", "fleet.A", ":read", "*"] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_area_is_the_first_part_of_the_path() {
        assert_eq!(area_of("/api/v1/hosts/abc/commands"), "hosts");
        assert_eq!(area_of("/api/v1/fleet/bulk/x/cancel"), "fleet.bulk");
        assert_eq!(area_of("/api/v1/fleet"), "fleet");
        assert_eq!(area_of("/healthz"), "");
    }
}
