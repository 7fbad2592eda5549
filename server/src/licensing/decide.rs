//! What a verified licence means at a time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::info::is_feature;
use fleetwright_signing::Claims;
use semver::Version;

const DAY_SECONDS: i64 = 86_400;

/// What the licences grant now, and what is remembered of earlier ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entitlement {
    /// The best licence of each signer, the best of all first.
    pub licenses: Vec<Licensed>,
    /// Why a licence that was offered is not in force.
    pub problem: Option<String>,
    /// Features that some licence has granted before: they lapse instead of never having been.
    pub once_licensed: BTreeSet<Granted>,
    /// Approved hosts.
    pub hosts: u64,
}

/// A feature that a signer's licence has granted once; without a signer where that was not yet remembered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Granted {
    pub signer: Option<String>,
    pub feature: String,
}

/// A module as far as a licence asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Licensable<'a> {
    pub name: &'a str,
    pub version: &'a Version,
    /// Who signed it. Licences of others grant it nothing.
    pub signer: &'a str,
}

/// A licence whose signature, place and start hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Licensed {
    pub claims: Claims,
    pub key_id: String,
    /// Whose key that is.
    pub signer: String,
    pub development: bool,
    pub phase: Phase,
}

impl Licensed {
    /// One that allows new work beats one that has lapsed; of two alike the one issued later counts.
    pub fn outranks(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    fn rank(&self) -> (bool, i64) {
        (self.phase != Phase::Expired, self.claims.iat)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Active,
    /// Past its end, but everything goes on.
    Grace,
    /// Past its grace: nothing new.
    Expired,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Grace => "grace",
            Self::Expired => "expired",
        }
    }
}

/// What requests of a feature may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Full,
    /// Reads and what is under way; nothing new.
    ContinueOnly(Reason),
    Nothing(Reason),
}

/// The `reason` of a 402 that licensing gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    NotLicensed,
    LicenseExpired,
    HostLimitExceeded,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLicensed => "not_licensed",
            Self::LicenseExpired => "license_expired",
            Self::HostLimitExceeded => "host_limit_exceeded",
        }
    }
}

/// Why a verified licence is not in force at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInForce {
    #[error("the licence is not valid before {0} (seconds since 1970)")]
    NotYetValid(i64),
    #[error("the licence is for another installation ({0})")]
    OtherInstallation(String),
    #[error("the licence ends before it begins")]
    NeverValid,
}

/// Where in its life a licence is.
pub fn phase(claims: &Claims, now_s: i64, installation: &str) -> Result<Phase, NotInForce> {
    if claims.exp <= claims.nbf {
        return Err(NotInForce::NeverValid);
    }
    if let Some(other) = claims
        .installation
        .as_deref()
        .filter(|named| *named != installation)
    {
        return Err(NotInForce::OtherInstallation(
            other.chars().take(64).collect(),
        ));
    }
    if now_s < claims.nbf {
        return Err(NotInForce::NotYetValid(claims.nbf));
    }
    Ok(if now_s < claims.exp {
        Phase::Active
    } else if now_s < grace_ends_s(claims) {
        Phase::Grace
    } else {
        Phase::Expired
    })
}

/// When the last day of grace is over, in seconds.
pub fn grace_ends_s(claims: &Claims) -> i64 {
    claims
        .exp
        .saturating_add(i64::from(claims.grace_days).saturating_mul(DAY_SECONDS))
}

impl Entitlement {
    /// What requests of a feature of a module may do. A feature belongs to who signed its module.
    pub fn access(&self, feature: &str, module: Licensable<'_>) -> Access {
        let granting = self
            .licenses
            .iter()
            .find(|license| license.signer == module.signer)
            .filter(|license| grants(&license.claims, feature, module.name, module.version));
        let Some(license) = granting else {
            return self.without(feature, module.signer);
        };
        match license.phase {
            Phase::Expired => Access::ContinueOnly(Reason::LicenseExpired),
            Phase::Active | Phase::Grace if self.outgrows(license) => {
                Access::ContinueOnly(Reason::HostLimitExceeded)
            }
            Phase::Active | Phase::Grace => Access::Full,
        }
    }

    /// The one to show where there is room for one.
    pub fn best(&self) -> Option<&Licensed> {
        self.licenses.first()
    }

    pub fn outgrows(&self, license: &Licensed) -> bool {
        let limit = license.claims.max_hosts;
        limit.is_some_and(|limit| self.hosts > limit)
    }

    /// Whether any licence is outgrown.
    pub fn is_over_host_limit(&self) -> bool {
        self.licenses.iter().any(|license| self.outgrows(license))
    }

    /// Each feature anybody has licensed, with the best state it has: `active`, `grace`, `expired`, `none`.
    pub fn feature_states(&self) -> BTreeMap<String, &'static str> {
        let once = self.once_licensed.iter();
        let mut states: BTreeMap<String, &'static str> = once
            .map(|granted| (granted.feature.clone(), "none"))
            .collect();
        // The best come first and are written last.
        for license in self.licenses.iter().rev() {
            for feature in known_features(&license.claims) {
                states.insert(feature.to_owned(), license.phase.as_str());
            }
        }
        states
    }

    fn without(&self, feature: &str, signer: &str) -> Access {
        let is_it = |granted: &Granted| {
            granted.feature == feature && granted.signer.as_deref().is_none_or(|own| own == signer)
        };
        if self.once_licensed.iter().any(is_it) {
            Access::ContinueOnly(Reason::NotLicensed)
        } else {
            Access::Nothing(Reason::NotLicensed)
        }
    }
}

/// The best licence of each signer, the best of all first.
pub fn best_of_each_signer(offered: Vec<Licensed>) -> Vec<Licensed> {
    let mut best: Vec<Licensed> = Vec::new();
    for license in offered {
        match best.iter_mut().find(|other| other.signer == license.signer) {
            Some(other) if license.outranks(other) => *other = license,
            Some(_) => {}
            None => best.push(license),
        }
    }
    best.sort_by(|one, other| {
        let by_rank = other.rank().cmp(&one.rank());
        by_rank.then_with(|| one.signer.cmp(&other.signer))
    });
    best
}

/// How old a licence may be that vouches for the time, in seconds: it is issued for that.
const FRESH_SECONDS: i64 = 7 * DAY_SECONDS;

/// Why a licence does not vouch for the wall clock.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    #[error(
        "it was not issued after every licence this server has seen: ask the vendor for a new one"
    )]
    NotNewer,
    #[error(
        "this server's clock does not agree with it: it was issued at {issued_s} and the clock says {now_s} (seconds since 1970)"
    )]
    Disagrees { issued_s: i64, now_s: i64 },
}

/// Whether a licence proves that the wall clock is right and time remembered as later is wrong: the vendor's signature
/// says that it was not earlier than its issue, and it is newer than everything that was ever offered.
pub fn vouches_for(claims: &Claims, now_s: i64, newest_issue_s: i64) -> Result<(), NoProof> {
    if claims.iat <= newest_issue_s {
        return Err(NoProof::NotNewer);
    }
    if now_s < claims.iat || now_s >= claims.iat.saturating_add(FRESH_SECONDS).min(claims.exp) {
        return Err(NoProof::Disagrees {
            issued_s: claims.iat,
            now_s,
        });
    }
    Ok(())
}

pub fn known_features(claims: &Claims) -> impl Iterator<Item = &str> {
    claims
        .features
        .iter()
        .map(String::as_str)
        .filter(|feature| is_feature(feature))
}

/// Codes this server does not know: listed, and otherwise ignored, so that a licence may be newer than the server.
pub fn unknown_features(claims: &Claims) -> Vec<String> {
    claims
        .features
        .iter()
        .filter(|feature| !is_feature(feature))
        .cloned()
        .collect()
}

fn grants(claims: &Claims, feature: &str, module: &str, version: &Version) -> bool {
    let module_granted = claims.modules.is_empty()
        || claims
            .modules
            .get(module)
            .is_some_and(|requirement| requirement.matches(version));
    module_granted && known_features(claims).any(|granted| granted == feature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn claims() -> Claims {
        Claims {
            iss: fleetwright_signing::license::ISSUER.to_owned(),
            sub: "c".to_owned(),
            features: vec!["fleet_groups".to_owned(), "fleet_teleport".to_owned()],
            modules: BTreeMap::new(),
            installation: None,
            max_hosts: Some(2),
            iat: NOW,
            nbf: NOW,
            exp: NOW + 100,
            grace_days: 1,
        }
    }

    fn entitlement(claims: Claims, now: i64, hosts: u64) -> Entitlement {
        let phase = phase(&claims, now, "here").expect("in force");
        let license = Licensed {
            claims,
            key_id: String::new(),
            signer: "us".to_owned(),
            development: false,
            phase,
        };
        Entitlement {
            licenses: vec![license],
            hosts,
            ..Entitlement::default()
        }
    }

    fn access(entitlement: &Entitlement, feature: &str) -> Access {
        entitlement.access(feature, module("groups", &Version::new(1, 2, 0), "us"))
    }

    fn module<'a>(name: &'a str, version: &'a Version, signer: &'a str) -> Licensable<'a> {
        Licensable {
            name,
            version,
            signer,
        }
    }

    #[test]
    fn a_licence_grants_what_its_own_signer_signed() {
        let (mut entitlement, version) = (entitlement(claims(), NOW, 0), Version::new(1, 2, 0));
        let theirs = module("groups", &version, "them");
        assert_eq!(
            entitlement.access("fleet_groups", theirs),
            Access::Nothing(Reason::NotLicensed)
        );
        // A second licence beside it takes nothing away, and its limits are its own.
        let mut second = claims();
        (second.max_hosts, second.features) = (None, vec!["fleet_groups".to_owned()]);
        entitlement.licenses.push(Licensed {
            claims: second,
            key_id: String::new(),
            signer: "them".to_owned(),
            development: false,
            phase: Phase::Active,
        });
        entitlement.hosts = 3;
        assert_eq!(entitlement.access("fleet_groups", theirs), Access::Full);
        assert_eq!(
            access(&entitlement, "fleet_groups"),
            Access::ContinueOnly(Reason::HostLimitExceeded)
        );
        // What somebody else granted once does not let this module go on.
        entitlement.licenses.clear();
        for (signer, expected) in [
            (Some("them"), Access::ContinueOnly(Reason::NotLicensed)),
            (Some("us"), Access::Nothing(Reason::NotLicensed)),
            (None, Access::ContinueOnly(Reason::NotLicensed)),
        ] {
            entitlement.once_licensed = BTreeSet::from([Granted {
                signer: signer.map(str::to_owned),
                feature: "fleet_groups".to_owned(),
            }]);
            assert_eq!(
                entitlement.access("fleet_groups", theirs),
                expected,
                "{signer:?}"
            );
        }
    }

    #[test]
    fn of_each_signer_the_best_licence_counts_and_the_best_of_all_is_first() {
        let license = |signer: &str, iat, phase| Licensed {
            claims: Claims { iat, ..claims() },
            key_id: String::new(),
            signer: signer.to_owned(),
            development: false,
            phase,
        };
        let best = best_of_each_signer(vec![
            license("a", 1, Phase::Expired),
            license("b", 5, Phase::Expired),
            license("a", 3, Phase::Expired),
            license("b", 2, Phase::Active),
            license("c", 9, Phase::Grace),
        ]);
        let order: Vec<(&str, i64)> = best
            .iter()
            .map(|license| (license.signer.as_str(), license.claims.iat))
            .collect();
        assert_eq!(order, [("c", 9), ("b", 2), ("a", 3)]);
    }

    #[test]
    fn only_a_licence_newer_than_all_vouches_for_a_clock_that_agrees() {
        let (day, week) = (DAY_SECONDS, FRESH_SECONDS);
        let long = Claims {
            exp: NOW + 400 * day,
            ..claims()
        };
        for (now, newest, expected) in [
            (NOW, NOW - 1, true),
            (NOW + day, 0, true),
            (NOW + day, NOW, false),
            (NOW + day, NOW + 1, false),
            (NOW - 1, 0, false),
            (NOW + week, 0, false),
        ] {
            assert_eq!(
                vouches_for(&long, now, newest).is_ok(),
                expected,
                "{now} {newest}"
            );
        }
        assert!(
            vouches_for(&claims(), NOW + 100, 0).is_err(),
            "it has ended"
        );
    }

    #[test]
    fn a_lapsed_trial_does_not_hide_the_licence_before_it() {
        let license = |iat, phase| Licensed {
            claims: Claims { iat, ..claims() },
            key_id: String::new(),
            signer: String::new(),
            development: false,
            phase,
        };
        for (better, worse) in [
            (license(1, Phase::Active), license(2, Phase::Expired)),
            (license(1, Phase::Grace), license(2, Phase::Expired)),
            (license(2, Phase::Grace), license(1, Phase::Active)),
            (license(2, Phase::Expired), license(1, Phase::Expired)),
        ] {
            assert!(better.outranks(&worse) && !worse.outranks(&better));
        }
    }

    #[test]
    fn a_licence_goes_from_active_through_grace_to_expired() {
        let cases = [
            (NOW, Ok(Phase::Active)),
            (NOW + 99, Ok(Phase::Active)),
            (NOW + 100, Ok(Phase::Grace)),
            (NOW + 100 + DAY_SECONDS - 1, Ok(Phase::Grace)),
            (NOW + 100 + DAY_SECONDS, Ok(Phase::Expired)),
            (NOW - 1, Err(NotInForce::NotYetValid(NOW))),
        ];
        for (now, expected) in cases {
            assert_eq!(phase(&claims(), now, "here"), expected, "{now}");
        }
    }

    #[test]
    fn a_licence_for_another_installation_is_not_in_force() {
        let mut bound = claims();
        bound.installation = Some("here".to_owned());
        assert_eq!(phase(&bound, NOW, "here"), Ok(Phase::Active));
        assert_eq!(
            phase(&bound, NOW, "there"),
            Err(NotInForce::OtherInstallation("here".to_owned()))
        );
    }

    #[test]
    fn only_new_work_stops_when_a_licence_lapses_or_the_fleet_outgrows_it() {
        assert_eq!(
            access(&entitlement(claims(), NOW, 2), "fleet_groups"),
            Access::Full
        );
        assert_eq!(
            access(&entitlement(claims(), NOW + 100, 0), "fleet_groups"),
            Access::Full
        );
        let expired = entitlement(claims(), NOW + 100 + DAY_SECONDS, 0);
        assert_eq!(
            access(&expired, "fleet_groups"),
            Access::ContinueOnly(Reason::LicenseExpired)
        );
        let grown = entitlement(claims(), NOW, 3);
        assert_eq!(
            access(&grown, "fleet_groups"),
            Access::ContinueOnly(Reason::HostLimitExceeded)
        );
    }

    #[test]
    fn a_feature_never_licensed_answers_nothing_and_one_taken_away_only_stops() {
        let mut now = entitlement(claims(), NOW, 0);
        assert_eq!(
            access(&now, "fleet_budgets"),
            Access::Nothing(Reason::NotLicensed)
        );
        now.once_licensed.insert(Granted {
            signer: Some("us".to_owned()),
            feature: "fleet_budgets".to_owned(),
        });
        assert_eq!(
            access(&now, "fleet_budgets"),
            Access::ContinueOnly(Reason::NotLicensed)
        );
        assert_eq!(
            access(&Entitlement::default(), "fleet_groups"),
            Access::Nothing(Reason::NotLicensed)
        );
    }

    #[test]
    fn unknown_features_are_ignored_and_listed() {
        assert_eq!(unknown_features(&claims()), ["fleet_teleport"]);
        assert_eq!(
            access(&entitlement(claims(), NOW, 0), "fleet_teleport"),
            Access::Nothing(Reason::NotLicensed)
        );
    }

    #[test]
    fn a_licence_may_be_limited_to_modules_and_versions() {
        let mut limited = claims();
        limited
            .modules
            .insert("groups".to_owned(), "^1.2".parse().expect("a requirement"));
        let entitlement = entitlement(limited, NOW, 0);
        assert_eq!(access(&entitlement, "fleet_groups"), Access::Full);
        let (version, next) = (Version::new(1, 2, 0), Version::new(2, 0, 0));
        let newer = entitlement.access("fleet_groups", module("groups", &next, "us"));
        assert_eq!(newer, Access::Nothing(Reason::NotLicensed));
        let other = entitlement.access("fleet_groups", module("bulk", &version, "us"));
        assert_eq!(other, Access::Nothing(Reason::NotLicensed));
    }
}
