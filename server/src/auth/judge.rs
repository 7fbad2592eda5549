//! The one judge of who may use a route: the role, the scopes of the token, the tenant it belongs to. The same for a route
//! of the core, of which the access table says what it asks, and for a module's, which declares it.

use super::scope::area_of;
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
    if !principal.scopes.allow(&area_of(path), asks.is_read) {
        return Err(Problem::forbidden("This is outside the token's scopes."));
    }
    Ok(())
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
