//! What a verified licence means at a time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::info::is_feature;
use fleetwright_signing::Claims;
use semver::Version;

const DAY_SECONDS: i64 = 86_400;

/// What the licence grants now, and what is remembered of earlier ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entitlement {
    pub license: Option<Licensed>,
    /// Why there is no licence in force although one was offered.
    pub problem: Option<String>,
    /// Features that some licence has granted before: they lapse instead of never having been.
    pub once_licensed: BTreeSet<String>,
    /// Approved hosts.
    pub hosts: u64,
}

/// A licence whose signature, place and start hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Licensed {
    pub claims: Claims,
    pub key_id: String,
    pub development: bool,
    pub phase: Phase,
}

impl Licensed {
    /// One that allows new work beats one that has lapsed; of two alike the one issued later counts.
    pub fn outranks(&self, other: &Self) -> bool {
        let rank = |license: &Self| (license.phase != Phase::Expired, license.claims.iat);
        rank(self) > rank(other)
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
    pub fn access(&self, feature: &str, module: &str, version: &Version) -> Access {
        let Some(license) = self
            .license
            .as_ref()
            .filter(|license| grants(&license.claims, feature, module, version))
        else {
            return self.without(feature);
        };
        match license.phase {
            Phase::Expired => Access::ContinueOnly(Reason::LicenseExpired),
            Phase::Active | Phase::Grace if self.is_over_host_limit() => {
                Access::ContinueOnly(Reason::HostLimitExceeded)
            }
            Phase::Active | Phase::Grace => Access::Full,
        }
    }

    pub fn is_over_host_limit(&self) -> bool {
        let limit = self
            .license
            .as_ref()
            .and_then(|license| license.claims.max_hosts);
        limit.is_some_and(|limit| self.hosts > limit)
    }

    /// Each feature anybody has licensed, with its state: `active`, `grace`, `expired`, `none`.
    pub fn feature_states(&self) -> BTreeMap<String, &'static str> {
        let mut states: BTreeMap<String, &'static str> = self
            .once_licensed
            .iter()
            .map(|feature| (feature.clone(), "none"))
            .collect();
        if let Some(license) = &self.license {
            for feature in known_features(&license.claims) {
                states.insert(feature.to_owned(), license.phase.as_str());
            }
        }
        states
    }

    fn without(&self, feature: &str) -> Access {
        if self.once_licensed.contains(feature) {
            Access::ContinueOnly(Reason::NotLicensed)
        } else {
            Access::Nothing(Reason::NotLicensed)
        }
    }
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
        let license = Some(Licensed {
            claims,
            key_id: String::new(),
            development: false,
            phase,
        });
        Entitlement {
            license,
            hosts,
            ..Entitlement::default()
        }
    }

    fn access(entitlement: &Entitlement, feature: &str) -> Access {
        entitlement.access(feature, "groups", &Version::new(1, 2, 0))
    }

    #[test]
    fn a_lapsed_trial_does_not_hide_the_licence_before_it() {
        let license = |iat, phase| Licensed {
            claims: Claims { iat, ..claims() },
            key_id: String::new(),
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
        now.once_licensed.insert("fleet_budgets".to_owned());
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
        let newer = entitlement.access("fleet_groups", "groups", &Version::new(2, 0, 0));
        assert_eq!(newer, Access::Nothing(Reason::NotLicensed));
        let other = entitlement.access("fleet_groups", "bulk", &Version::new(1, 2, 0));
        assert_eq!(other, Access::Nothing(Reason::NotLicensed));
    }
}
