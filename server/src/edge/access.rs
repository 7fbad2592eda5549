//! Who may do what: one table from route to required role. A route that is not in it is refused for everybody.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

use crate::auth::Role;

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No authentication.
    Public,
    /// Any principal, whatever its role, scopes or tenant.
    Authenticated,
    Role(Role),
    /// Any principal here; the module's own declaration decides the rest.
    Fleet,
}

/// How large a body a route reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySize {
    /// 1 MiB.
    Plain,
    /// 8 MiB: the route takes a selector or host ids.
    Selection,
    /// 32 MiB, streamed, without the request timeout.
    Blob,
}

impl BodySize {
    pub fn bytes_max(self) -> usize {
        match self {
            Self::Plain => 1024 * 1024,
            Self::Selection => 8 * 1024 * 1024,
            Self::Blob => 32 * 1024 * 1024,
        }
    }
}

/// What the edge knows of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub access: Access,
    pub body: BodySize,
}

const VIEWER: Access = Access::Role(Role::Viewer);
const OPERATOR: Access = Access::Role(Role::Operator);
const ADMIN: Access = Access::Role(Role::Admin);

/// Paths are axum's, below `/api/v1` unless they say otherwise.
const TABLE: &[(&str, &str, Access)] = &[
    ("GET", "/openapi.json", Access::Public),
    ("POST", "/auth/login", Access::Public),
    ("POST", "/auth/refresh", Access::Public),
    ("POST", "/auth/logout", Access::Authenticated),
    ("GET", "/auth/me", Access::Authenticated),
    ("GET", "/users", ADMIN),
    ("POST", "/users", ADMIN),
    ("GET", "/users/{id}", ADMIN),
    ("PATCH", "/users/{id}", ADMIN),
    ("DELETE", "/users/{id}", ADMIN),
    ("GET", "/tokens", ADMIN),
    ("POST", "/tokens", ADMIN),
    ("DELETE", "/tokens/{id}", ADMIN),
    ("GET", "/enrollment-tokens", ADMIN),
    ("POST", "/enrollment-tokens", ADMIN),
    ("DELETE", "/enrollment-tokens/{id}", ADMIN),
    ("GET", "/hosts", VIEWER),
    ("GET", "/hosts/{id}", VIEWER),
    ("PATCH", "/hosts/{id}", OPERATOR),
    ("DELETE", "/hosts/{id}", OPERATOR),
    ("POST", "/hosts/{id}/approve", OPERATOR),
    ("POST", "/hosts/{id}/reject", OPERATOR),
    ("POST", "/hosts/approve", OPERATOR),
    ("PUT", "/blobs/{sha256}", OPERATOR),
    ("GET", "/hosts/{id}/commands", VIEWER),
    ("POST", "/hosts/{id}/commands", OPERATOR),
    ("GET", "/commands/{id}", VIEWER),
    ("GET", "/commands/{id}/output", VIEWER),
    ("POST", "/commands/{id}/cancel", OPERATOR),
    ("POST", "/plans/bulk", OPERATOR),
    ("GET", "/secrets", OPERATOR),
    ("PUT", "/secrets/{name}", ADMIN),
    ("DELETE", "/secrets/{name}", ADMIN),
    // The same, for names whose `/` is sent as it is.
    ("PUT", "/secrets/{name}/{*rest}", ADMIN),
    ("DELETE", "/secrets/{name}/{*rest}", ADMIN),
    ("GET", "/modules", VIEWER),
    ("POST", "/modules/rescan", ADMIN),
    ("GET", "/license", VIEWER),
    ("PUT", "/license", ADMIN),
    ("GET", "/audit", ADMIN),
    ("GET", "/audit/verify", ADMIN),
    ("GET", "/events", VIEWER),
];

/// Outside the base.
const ROOT_TABLE: &[(&str, &str, Access)] = &[
    ("GET", "/healthz", Access::Public),
    ("GET", "/readyz", Access::Public),
    ("GET", "/metrics", Access::Public),
    ("GET", "/docs", Access::Public),
];

/// Where modules' routes live.
pub const FLEET_PREFIX: &str = "/api/v1/fleet";
pub const BASE: &str = "/api/v1";

/// Routes that take host ids.
const SELECTION_PATHS: &[&str] = &["/hosts/approve", "/plans/bulk"];
const BLOB_PATHS: &[&str] = &["/blobs/{sha256}"];

type Rules = HashMap<String, Vec<(Method, Rule)>>;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let mut rules = Rules::new();
    let based = TABLE.iter().map(|row| (BASE, row));
    let root = ROOT_TABLE.iter().map(|row| ("", row));
    for (base, (method, path, access)) in based.chain(root) {
        let body = if SELECTION_PATHS.contains(path) {
            BodySize::Selection
        } else if BLOB_PATHS.contains(path) {
            BodySize::Blob
        } else {
            BodySize::Plain
        };
        let rule = Rule {
            access: *access,
            body,
        };
        // The table holds standard methods; a test reads every row back.
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let of_path = rules.entry(format!("{base}{path}")).or_default();
        of_path.push((method, rule));
    }
    rules
});

/// A path's rule for a method, as far as the edge knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    Known(Rule),
    /// The path exists, without this method.
    OtherMethod {
        /// None of its methods asks for a caller.
        public: bool,
    },
    Unknown,
}

/// `path` is the matched route's pattern.
pub fn rule(method: &Method, path: &str) -> Lookup {
    if path
        .strip_prefix(FLEET_PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        return Lookup::Known(Rule {
            access: Access::Fleet,
            body: BodySize::Selection,
        });
    }
    let Some(of_path) = RULES.get(path) else {
        return Lookup::Unknown;
    };
    let wanted = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    match of_path.iter().find(|(method, _)| method == wanted) {
        Some((_, rule)) => Lookup::Known(*rule),
        None => Lookup::OtherMethod {
            public: of_path
                .iter()
                .all(|(_, rule)| rule.access == Access::Public),
        },
    }
}

/// Every row, as `(method, path below the base, access)`: for the OpenAPI document and tests.
pub fn table() -> impl Iterator<Item = (&'static str, &'static str, Access)> {
    TABLE.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::{AREAS, area_of};

    #[test]
    fn every_row_can_be_looked_up_and_nothing_else() {
        for (method, path, access) in table() {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let found = rule(&method, &format!("{BASE}{path}"));
            assert!(
                matches!(found, Lookup::Known(rule) if rule.access == access),
                "{method} {path}"
            );
        }
        let head = rule(&Method::HEAD, "/api/v1/hosts");
        assert!(matches!(head, Lookup::Known(_)), "HEAD is a GET");
        let other = rule(&Method::PUT, "/api/v1/hosts");
        assert_eq!(other, Lookup::OtherMethod { public: false });
        let other = rule(&Method::POST, "/healthz");
        assert_eq!(other, Lookup::OtherMethod { public: true });
        assert_eq!(rule(&Method::GET, "/api/v1/nonsense"), Lookup::Unknown);
        assert_eq!(rule(&Method::GET, "/api/v1/fleetish"), Lookup::Unknown);
    }

    #[test]
    fn every_area_with_a_role_can_be_named_in_a_scope() {
        for (_, path, access) in table() {
            if matches!(access, Access::Role(_)) {
                let area = area_of(&format!("{BASE}{path}"));
                assert!(AREAS.contains(&area.as_str()), "{area}");
            }
        }
    }
}
