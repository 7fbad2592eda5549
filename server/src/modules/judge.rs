//! What the routes of modules ask of their callers, by their declarations, put before the one judge: for requests, for calls
//! of methods in process, and for who acts in somebody's name.

use fleetwright_plugin_api::info::{ModuleInfo, RouteDeclaration, RouteKind};

use crate::auth::{self, AskedScope, Asks, Caller, Role};
use crate::http::Problem;

/// Below which the declared paths lie.
pub const BASE: &str = "/api/v1";

/// 403 unless the caller may use the route. `path` is the full one.
pub fn route(caller: &Caller, route: &RouteDeclaration, path: &str) -> Result<(), Problem> {
    auth::judge(&caller.principal, asks(route), path)
}

/// 403 unless the caller may use the route that does what the method does; that route, if there is one.
pub fn method<'a>(
    caller: &Caller,
    info: &'a ModuleInfo,
    method: &str,
) -> Result<Option<&'a RouteDeclaration>, Problem> {
    let does = |route: &&RouteDeclaration| route.calls.iter().any(|call| call == method);
    let found = info.routes.iter().find(does);
    if let Some(found) = found {
        route(caller, found, &format!("{BASE}{}", found.path))?;
    }
    Ok(found)
}

/// The scopes that a token with scopes needs for the route.
pub fn scopes(route: &RouteDeclaration) -> Vec<String> {
    asks(route).scope.areas(&format!("{BASE}{}", route.path))
}

fn asks(route: &RouteDeclaration) -> Asks {
    Asks {
        // A role this server does not know asks for the most.
        role: Role::from_name(route.role.as_str()).unwrap_or(Role::Admin),
        is_read: route.kind == RouteKind::Read,
        tenants: route.tenants,
        scope: if route.runs {
            AskedScope::PathAndOperations
        } else {
            AskedScope::Path
        },
    }
}
