//! What a principal may hand on: nothing that reaches further than it does itself, in role, scopes, tenant or time. Pure.

use fleetwright_protocol::Violation;

use super::{Role, Scopes};

/// The code of each violation: what is asked for is more than the caller has.
pub const BEYOND: &str = "exceeds-own-rights";

/// The bounds of whoever makes or changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub role: Role,
    pub scopes: Scopes,
    pub tenant: Option<String>,
    /// Microseconds since the Unix epoch by the wall clock; none lives until revoked.
    pub expires_at_us: Option<i64>,
}

impl Bounds {
    /// Something but the role narrows it. A user has none of these bounds.
    fn is_narrowed(&self) -> bool {
        !self.scopes.0.is_empty() || self.tenant.is_some() || self.expires_at_us.is_some()
    }
}

/// The bounds of a token that is made within those of its maker. What is not asked for is the maker's own, so that nothing
/// grows by being left out; what is asked for and reaches further is refused, each with its pointer.
pub fn within(maker: &Bounds, asked: Bounds) -> Result<Bounds, Vec<Violation>> {
    let mut found = Vec::new();
    let mut beyond =
        |pointer: String, detail: String| found.push(Violation::new(pointer, BEYOND, detail));
    if asked.role > maker.role {
        let own = maker.role.as_str();
        beyond("/role".to_owned(), format!("Your own role is {own}."));
    }
    for index in asked.scopes.outside(&maker.scopes) {
        let detail = "This is outside the scopes of the token that asks.";
        beyond(format!("/scopes/{index}"), detail.to_owned());
    }
    if maker.tenant.is_some() && asked.tenant.is_some() && asked.tenant != maker.tenant {
        let detail = "The token that asks belongs to another tenant.";
        beyond("/tenant".to_owned(), detail.to_owned());
    }
    if let (Some(end_us), Some(asked_us)) = (maker.expires_at_us, asked.expires_at_us)
        && asked_us > end_us
    {
        let detail = "The token that asks ends before; leave this out to end with it.";
        beyond("/expires_in_seconds".to_owned(), detail.to_owned());
    }
    if !found.is_empty() {
        return Err(found);
    }
    let scopes = if asked.scopes.0.is_empty() {
        maker.scopes.clone()
    } else {
        asked.scopes
    };
    Ok(Bounds {
        role: asked.role,
        scopes,
        tenant: asked.tenant.or_else(|| maker.tenant.clone()),
        expires_at_us: asked.expires_at_us.or(maker.expires_at_us),
    })
}

/// When something else ends that is made within these bounds and lives for `default_us` unless another end is asked for.
pub fn end_within(
    maker: &Bounds,
    asked_us: Option<i64>,
    default_us: i64,
) -> Result<i64, Vec<Violation>> {
    let asked = Bounds {
        expires_at_us: asked_us,
        ..maker.clone()
    };
    within(maker, asked)?;
    let own_us = maker.expires_at_us.unwrap_or(i64::MAX);
    Ok(asked_us.unwrap_or(default_us.min(own_us)))
}

/// What of a change to a user gives rights that the user did not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The role, where it is a new user's or higher than before.
    pub role: Option<Role>,
    /// Whoever knows a password logs in.
    pub password: bool,
    /// From disabled.
    pub enabled: bool,
}

/// Whether `maker` may give this to a user. Nothing but a role narrows a user, and a user does not end: so a token that is
/// narrowed in any other way can take from users, and give them nothing.
pub fn may_give(maker: &Bounds, given: Given) -> Result<(), Vec<Violation>> {
    let narrowed = maker.is_narrowed();
    let detail = "A token with scopes, a tenant or an end gives users nothing: a user has none of these bounds.";
    let exceeds = |role: Role| narrowed || role > maker.role;
    let cases = [
        ("/role", given.role.is_some_and(exceeds)),
        ("/password", given.password && narrowed),
        ("/disabled", given.enabled && narrowed),
    ];
    let found: Vec<Violation> = cases
        .into_iter()
        .filter(|(_, refused)| *refused)
        .map(|(pointer, _)| {
            let detail = if narrowed {
                detail.to_owned()
            } else {
                format!("Your own role is {}.", maker.role.as_str())
            };
            Violation::new(pointer, BEYOND, detail)
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Bounds = Bounds {
        role: Role::Admin,
        scopes: Scopes(Vec::new()),
        tenant: None,
        expires_at_us: None,
    };

    fn scopes(texts: &[&str]) -> Scopes {
        Scopes(
            texts
                .iter()
                .map(|text| text.parse().expect("a scope"))
                .collect(),
        )
    }

    fn bounds(
        role: Role,
        texts: &[&str],
        tenant: Option<&str>,
        expires_at_us: Option<i64>,
    ) -> Bounds {
        Bounds {
            role,
            scopes: scopes(texts),
            tenant: tenant.map(str::to_owned),
            expires_at_us,
        }
    }

    #[test]
    fn what_a_token_makes_is_within_it_or_refused_by_name() {
        let narrow = bounds(Role::Admin, &["tokens", "hosts:read", "fleet"], None, None);
        let short = bounds(Role::Admin, &[], None, Some(60));
        let of_a = bounds(Role::Admin, &[], Some("a"), None);
        let operator = bounds(Role::Operator, &[], None, None);
        let any = |texts: &[&str]| bounds(Role::Viewer, texts, None, None);
        let cases: &[(&Bounds, Bounds, &[&str])] = &[
            (
                &ALL,
                bounds(Role::Admin, &["users"], Some("a"), Some(9)),
                &[],
            ),
            (&operator, bounds(Role::Admin, &[], None, None), &["/role"]),
            (
                &narrow,
                any(&[
                    "tokens",
                    "hosts:read",
                    "fleet.bulk",
                    "fleet:read",
                    "tokens:read",
                ]),
                &[],
            ),
            (&narrow, any(&["hosts"]), &["/scopes/0"]),
            (
                &narrow,
                any(&["tokens", "users:read", "operations"]),
                &["/scopes/1", "/scopes/2"],
            ),
            (&short, bounds(Role::Viewer, &[], None, Some(60)), &[]),
            (
                &short,
                bounds(Role::Viewer, &[], None, Some(61)),
                &["/expires_in_seconds"],
            ),
            (
                &of_a,
                bounds(Role::Viewer, &[], Some("b"), None),
                &["/tenant"],
            ),
        ];
        for (maker, asked, expected) in cases {
            let found = within(maker, asked.clone()).err().unwrap_or_default();
            let pointers: Vec<&str> = found.iter().map(|one| one.pointer.as_str()).collect();
            assert_eq!(&pointers, expected, "{maker:?} makes {asked:?}");
        }
    }

    #[test]
    fn what_is_not_asked_for_is_the_makers_own() {
        let maker = bounds(Role::Admin, &["tokens"], Some("a"), Some(60));
        let made = within(&maker, bounds(Role::Viewer, &[], None, None)).expect("within");
        assert_eq!(
            made,
            Bounds {
                role: Role::Viewer,
                ..maker
            }
        );
        assert_eq!(within(&ALL, ALL), Ok(ALL));
    }

    #[test]
    fn a_read_only_scope_hands_on_nothing_that_writes() {
        let read = bounds(Role::Admin, &["fleet:read"], None, None);
        for (scope, fits) in [
            ("fleet.bulk:read", true),
            ("fleet:read", true),
            ("fleet.bulk", false),
            ("fleet", false),
        ] {
            let made = within(&read, bounds(Role::Viewer, &[scope], None, None));
            assert_eq!(made.is_ok(), fits, "{scope}");
        }
    }

    #[test]
    fn only_what_nothing_narrows_gives_users_rights() {
        let role = Given {
            role: Some(Role::Viewer),
            ..Given::default()
        };
        let admin = Given {
            role: Some(Role::Admin),
            ..Given::default()
        };
        let password = Given {
            password: true,
            ..Given::default()
        };
        let enabled = Given {
            enabled: true,
            ..Given::default()
        };
        let makers = [
            (ALL, [true, true, true, true]),
            (
                bounds(Role::Operator, &[], None, None),
                [true, false, true, true],
            ),
            (bounds(Role::Admin, &["users"], None, None), [false; 4]),
            (bounds(Role::Admin, &[], Some("a"), None), [false; 4]),
            (bounds(Role::Admin, &[], None, Some(60)), [false; 4]),
        ];
        for (maker, expected) in makers {
            let may = [role, admin, password, enabled].map(|given| may_give(&maker, given).is_ok());
            assert_eq!(may, expected, "{maker:?}");
            assert_eq!(
                may_give(&maker, Given::default()),
                Ok(()),
                "taking needs no rights to give"
            );
        }
    }
}
