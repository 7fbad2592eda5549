//! Who a call in process acts for. A module carries the identity of its caller on, and may have kept it for long: what it
//! carries is judged by what the principal may do now, and never adds to it. A role that nobody knows is no role.

use fleetwright_plugin_api::wire::CallContext;

use super::identities::Identities;
use super::{Principal, Role, Scope, Scopes};
use crate::db::DbError;

/// The principal of a context that `module` passes on; none where there is nobody (any more) whom it could mean.
pub async fn principal(
    identities: &Identities,
    context: &CallContext,
    module: &str,
    now_us: i64,
) -> Result<Option<Principal>, DbError> {
    if context.principal.strip_prefix("module:") == Some(module) {
        return Ok(own(context));
    }
    let now = identities.acting(&context.principal, now_us).await?;
    Ok(now.and_then(|now| narrowed(now, context)))
}

/// A module's own loops have no role in their context: they act with what every Pro route asks at most of a person who
/// operates.
fn own(context: &CallContext) -> Option<Principal> {
    let role = match context.role.as_str() {
        "" => Role::Operator,
        name => Role::from_name(name)?.min(Role::Operator),
    };
    let whole = Principal {
        id: context.principal.clone(),
        name: context.principal_name.clone(),
        role,
        tenant: context.tenant.clone(),
        scopes: Scopes::default(),
    };
    narrowed(
        whole,
        &CallContext {
            role: role.as_str().to_owned(),
            ..context.clone()
        },
    )
}

/// What the principal has now and the context says, both.
fn narrowed(now: Principal, context: &CallContext) -> Option<Principal> {
    let role = Role::from_name(&context.role)?.min(now.role);
    if now.tenant.is_some() && now.tenant != context.tenant {
        return None;
    }
    let scopes = if context.scopes.is_empty() {
        now.scopes
    } else {
        // One that this server does not know allows nothing.
        let carried = context
            .scopes
            .iter()
            .filter_map(|text| text.parse::<Scope>().ok());
        let carried = Scopes(carried.collect());
        if carried.0.is_empty() {
            return None;
        }
        now.scopes.meet(&carried)?
    };
    Some(Principal {
        role,
        tenant: context.tenant.clone(),
        scopes,
        ..now
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(role: Role, tenant: Option<&str>, scopes: &[&str]) -> Principal {
        let scopes = scopes.iter().map(|text| text.parse().expect("a scope"));
        Principal {
            id: "token:1".to_owned(),
            name: "t".to_owned(),
            role,
            tenant: tenant.map(str::to_owned),
            scopes: Scopes(scopes.collect()),
        }
    }

    fn context(role: &str, tenant: Option<&str>, scopes: &[&str]) -> CallContext {
        CallContext {
            principal: "token:1".to_owned(),
            role: role.to_owned(),
            tenant: tenant.map(str::to_owned),
            scopes: scopes.iter().map(|text| (*text).to_owned()).collect(),
            ..CallContext::default()
        }
    }

    #[test]
    fn what_is_carried_never_adds_to_what_the_principal_has_now() {
        use Role::{Admin, Operator, Viewer};
        let cases = [
            (
                now(Admin, None, &[]),
                context("admin", None, &[]),
                Some(now(Admin, None, &[])),
            ),
            (
                now(Viewer, None, &[]),
                context("admin", None, &[]),
                Some(now(Viewer, None, &[])),
            ),
            (
                now(Admin, None, &[]),
                context("viewer", None, &[]),
                Some(now(Viewer, None, &[])),
            ),
            (now(Admin, None, &[]), context("", None, &[]), None),
            (now(Admin, None, &[]), context("root", None, &[]), None),
            (now(Admin, None, &[]), context("Admin", None, &[]), None),
            // A module that was built before scopes travelled drops them.
            (
                now(Operator, None, &["hosts"]),
                context("operator", None, &[]),
                Some(now(Operator, None, &["hosts"])),
            ),
            (
                now(Operator, None, &[]),
                context("operator", None, &["hosts"]),
                Some(now(Operator, None, &["hosts"])),
            ),
            (
                now(Operator, None, &["fleet:read", "hosts"]),
                context("operator", None, &["fleet.bulk", "users"]),
                Some(now(Operator, None, &["fleet.bulk:read"])),
            ),
            (
                now(Operator, None, &["hosts"]),
                context("operator", None, &["users"]),
                None,
            ),
            (
                now(Operator, None, &[]),
                context("operator", None, &["later"]),
                None,
            ),
            (
                now(Operator, Some("a"), &[]),
                context("operator", Some("a"), &[]),
                Some(now(Operator, Some("a"), &[])),
            ),
            (
                now(Operator, Some("a"), &[]),
                context("operator", None, &[]),
                None,
            ),
            (
                now(Operator, Some("a"), &[]),
                context("operator", Some("b"), &[]),
                None,
            ),
            (
                now(Operator, None, &[]),
                context("operator", Some("a"), &[]),
                Some(now(Operator, Some("a"), &[])),
            ),
        ];
        for (now, context, expected) in cases {
            let what = format!("{now:?} carried as {context:?}");
            assert_eq!(narrowed(now, &context), expected, "{what}");
        }
    }

    #[test]
    fn a_module_itself_operates_and_no_more() {
        let role = |name: &str| own(&context(name, None, &[])).map(|own| own.role);
        assert_eq!(role(""), Some(Role::Operator));
        assert_eq!(role("viewer"), Some(Role::Viewer));
        assert_eq!(role("admin"), Some(Role::Operator));
        assert_eq!(role("root"), None);
    }
}
