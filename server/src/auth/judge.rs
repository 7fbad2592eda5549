//! The one judge of who may use a route: the role, the scopes of the token, the tenant it belongs to. The same for a route
//! of the core, of which the access table says what it asks, and for a module's, which declares it.

use super::scope::{OPERATIONS, area_of};
use super::{Principal, Role};
use crate::http::Problem;

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug)]
pub struct Asks {
    pub role: Role,
    /// A scope that is narrowed to reading is enough.
    pub is_read: bool,
    /// It keeps tenants apart. Elsewhere the token of a tenant would see everybody's.
    pub tenants: bool,
    pub scope: AskedScope,
}

/// Which scopes a token needs that has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedScope {
    /// The area of the route's path.
    Path,
    /// It runs something on one host and nothing else: `operations`.
    Operations,
    /// It runs something by what the area of its path keeps: that area and `operations`.
    PathAndOperations,
}

impl AskedScope {
    /// The areas, of which each must be allowed.
    pub fn areas(self, path: &str) -> Vec<String> {
        let operations = || OPERATIONS.to_owned();
        match self {
            Self::Path => vec![area_of(path)],
            Self::Operations => vec![operations()],
            Self::PathAndOperations => vec![area_of(path), operations()],
        }
    }
}

/// 403 unless role, scopes and tenant all allow it. `path` is the full one.
pub fn judge(principal: &Principal, asks: Asks, path: &str) -> Result<(), Problem> {
    if principal.role < asks.role {
        let needed = asks.role.as_str();
        return Err(Problem::forbidden(format!("This needs the role {needed}.")));
    }
    if principal.tenant.is_some() && !asks.tenants {
        let detail = "A tenant's token reaches only what keeps tenants apart.";
        return Err(Problem::forbidden(detail));
    }
    let areas = asks.scope.areas(path);
    let outside = |area: &&String| !principal.scopes.allow(area, asks.is_read);
    match areas.iter().find(outside) {
        None => Ok(()),
        Some(area) => {
            let suffix = if asks.is_read { ":read" } else { "" };
            let detail = format!("This is outside the token's scopes: it needs `{area}{suffix}`.");
            Err(Problem::forbidden(detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scopes;

    fn principal(role: Role, tenant: Option<&str>, scopes: &[&str]) -> Principal {
        let scopes = scopes.iter().map(|text| text.parse().expect("a scope"));
        Principal {
            id: "token:1".to_owned(),
            name: "t".to_owned(),
            role,
            tenant: tenant.map(str::to_owned),
            scopes: Scopes(scopes.collect()),
        }
    }

    #[test]
    fn role_scopes_and_tenant_must_all_allow() {
        let (hosts, bulk) = ("/api/v1/hosts/x/approve", "/api/v1/fleet/bulk");
        let writes = Asks {
            role: Role::Operator,
            is_read: false,
            tenants: false,
            scope: AskedScope::Path,
        };
        let runs = Asks {
            scope: AskedScope::PathAndOperations,
            ..writes
        };
        let runs_one = Asks {
            scope: AskedScope::Operations,
            ..writes
        };
        let reads = Asks {
            is_read: true,
            ..writes
        };
        let apart = Asks {
            tenants: true,
            ..writes
        };
        let cases = [
            (principal(Role::Operator, None, &[]), writes, hosts, true),
            (principal(Role::Admin, None, &[]), writes, hosts, true),
            (principal(Role::Viewer, None, &[]), writes, hosts, false),
            (
                principal(Role::Admin, None, &["commands"]),
                writes,
                hosts,
                false,
            ),
            (
                principal(Role::Admin, None, &["hosts:read"]),
                writes,
                hosts,
                false,
            ),
            (
                principal(Role::Admin, None, &["hosts:read"]),
                reads,
                hosts,
                true,
            ),
            (
                principal(Role::Admin, None, &["hosts"]),
                writes,
                hosts,
                true,
            ),
            (
                principal(Role::Admin, None, &["hosts"]),
                writes,
                bulk,
                false,
            ),
            (principal(Role::Admin, None, &["fleet"]), writes, bulk, true),
            (principal(Role::Admin, None, &["fleet"]), runs, bulk, false),
            (
                principal(Role::Admin, None, &["operations"]),
                runs,
                bulk,
                false,
            ),
            (
                principal(Role::Admin, None, &["operations", "fleet.bulk"]),
                runs,
                bulk,
                true,
            ),
            (
                principal(Role::Admin, None, &["operations:read", "fleet"]),
                runs,
                bulk,
                false,
            ),
            (
                principal(Role::Admin, None, &["hosts"]),
                runs_one,
                hosts,
                false,
            ),
            (
                principal(Role::Admin, None, &["operations"]),
                runs_one,
                hosts,
                true,
            ),
            (
                principal(Role::Viewer, None, &["operations"]),
                runs_one,
                hosts,
                false,
            ),
            (principal(Role::Admin, Some("a"), &[]), writes, hosts, false),
            (principal(Role::Admin, Some("a"), &[]), apart, bulk, true),
            (principal(Role::Viewer, Some("a"), &[]), apart, bulk, false),
        ];
        for (who, asks, path, allowed) in cases {
            let verdict = judge(&who, asks, path);
            assert_eq!(verdict.is_ok(), allowed, "{who:?} {path}");
        }
    }
}
