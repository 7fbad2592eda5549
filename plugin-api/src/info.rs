//! The info JSON of a module: what it is called, what it provides, which routes it will answer. The server reads it from
//! the file before anything of the module runs; the command line reads it to sign.
//!
//! Pure: parsing and checking of one document. Whether its routes collide with another's is the server's registry.

use std::collections::BTreeSet;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Features a licence can grant. Others must start with `x_`.
pub const KNOWN_FEATURES: [&str; 7] = [
    "fleet_groups",
    "fleet_bulk_operations",
    "fleet_rolling_deployments",
    "fleet_scheduled_operations",
    "fleet_placement",
    "fleet_budgets",
    "fleet_config_deployment",
];

/// Routes one module may declare: several times the largest of ours.
const ROUTES_MAX: usize = 256;
/// Characters of a module name: it prefixes table names, which PostgreSQL cuts at 63 bytes.
const NAME_CHARS_MAX: usize = 24;

/// What a module declares about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleInfo {
    pub name: String,
    pub version: Version,
    /// The ABI epoch it was built for.
    pub abi: u32,
    /// A requirement on the server's module-API version.
    pub host_api: VersionReq,
    pub features: Vec<String>,
    pub routes: Vec<RouteDeclaration>,
    #[serde(default)]
    pub openapi: Value,
    /// How many migrations it carries.
    #[serde(default)]
    pub migrations: u32,
    #[serde(default)]
    pub description: String,
}

/// One route, relative to `/api/v1`, with `{parameter}` segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDeclaration {
    /// Upper case.
    pub method: String,
    pub path: String,
    pub feature: String,
    pub role: Role,
    pub kind: RouteKind,
    #[serde(default)]
    pub summary: String,
}

/// The least role that may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// What a route does to work under a lapsed licence: only `new` is refused then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    Read,
    /// Pause, resume, approve, cancel, confirm, claim, spend: what is under way goes on.
    Continue,
    /// Create, retry, run now, edit.
    New,
}

/// Why an info document is refused; each is one line for the module list.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    #[error("the module's info is not readable: {0}")]
    Json(String),
    #[error(
        "the module's name `{0}` must be 1 to 24 lower-case letters, digits or underscores, letter first"
    )]
    Name(String),
    #[error("unknown feature `{0}`: a feature is a known code or starts with x_")]
    UnknownFeature(String),
    #[error("route {0}: {1}")]
    Route(String, &'static str),
    #[error("it declares {0} routes, at most 256 are allowed")]
    TooManyRoutes(usize),
    #[error("it needs module API {needed}, this server has {has}")]
    ServerApi { needed: String, has: String },
}

impl ModuleInfo {
    /// Parses and checks everything that can be said without knowing other modules.
    pub fn parse(json: &[u8]) -> Result<Self, InfoError> {
        let info: Self =
            serde_json::from_slice(json).map_err(|error| InfoError::Json(error.to_string()))?;
        info.check()?;
        Ok(info)
    }

    /// Whether this server's module API is what the module needs.
    pub fn check_host_api(&self, has: &Version) -> Result<(), InfoError> {
        if self.host_api.matches(has) {
            return Ok(());
        }
        Err(InfoError::ServerApi {
            needed: self.host_api.to_string(),
            has: has.to_string(),
        })
    }

    fn check(&self) -> Result<(), InfoError> {
        if !is_module_name(&self.name) {
            return Err(InfoError::Name(self.name.chars().take(64).collect()));
        }
        if let Some(unknown) = self.features.iter().find(|feature| !is_feature(feature)) {
            return Err(InfoError::UnknownFeature(
                unknown.chars().take(64).collect(),
            ));
        }
        if self.routes.len() > ROUTES_MAX {
            return Err(InfoError::TooManyRoutes(self.routes.len()));
        }
        let mut seen = BTreeSet::new();
        for route in &self.routes {
            let fail = |why| InfoError::Route(format!("{} {}", route.method, route.path), why);
            if !matches!(
                route.method.as_str(),
                "GET" | "POST" | "PUT" | "PATCH" | "DELETE"
            ) {
                return Err(fail("the method must be GET, POST, PUT, PATCH or DELETE"));
            }
            if !is_route_path(&route.path) {
                return Err(fail(
                    "the path must be /fleet/ and plain or {parameter} segments",
                ));
            }
            if !self.features.contains(&route.feature) {
                return Err(fail("its feature is not one the module declares"));
            }
            if !seen.insert((&route.method, route.shape())) {
                return Err(fail("it is declared twice"));
            }
        }
        Ok(())
    }
}

impl RouteDeclaration {
    /// The path with its parameters' names left out: two routes of one shape collide.
    pub fn shape(&self) -> String {
        let segments = self.path.split('/').map(|segment| {
            if segment.starts_with('{') {
                "{}"
            } else {
                segment
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }
}

/// Whether a licence or a module may name this feature.
pub fn is_feature(feature: &str) -> bool {
    let extension = |name: &str| {
        name.starts_with("x_")
            && name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    KNOWN_FEATURES.contains(&feature) || extension(feature)
}

pub fn is_module_name(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_route_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/fleet/") else {
        return false;
    };
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    path.len() <= 200
        && rest
            .split('/')
            .all(|segment| match segment.strip_prefix('{') {
                Some(inner) => inner.strip_suffix('}').is_some_and(word),
                None => word(segment),
            })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "name": "groups", "version": "1.2.3", "abi": 1, "host_api": "^1.0", "features": ["fleet_groups"],
            "routes": [{"method": "GET", "path": "/fleet/groups/{id}", "feature": "fleet_groups", "role": "viewer",
                        "kind": "read", "summary": "One group"}],
        })
    }

    fn parse_with(change: impl FnOnce(&mut Value)) -> Result<ModuleInfo, String> {
        let mut value = document();
        change(&mut value);
        ModuleInfo::parse(value.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_good_document_is_read() {
        let info = parse_with(|_| {}).unwrap();
        assert_eq!(info.routes[0].shape(), "/fleet/groups/{}");
        assert!(info.check_host_api(&Version::new(1, 4, 0)).is_ok());
        assert!(info.check_host_api(&Version::new(2, 0, 0)).is_err());
    }

    #[test]
    fn bad_documents_say_what_is_wrong() {
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 8] = [
            (|value| value["name"] = json!("Groups"), "name `Groups`"),
            (|value| value["name"] = json!("g".repeat(25)), "1 to 24"),
            (|value| value["version"] = json!("one"), "not readable"),
            (
                |value| value["features"] = json!(["fleet_teleport"]),
                "unknown feature `fleet_teleport`",
            ),
            (
                |value| value["routes"][0]["method"] = json!("BREW"),
                "the method must be",
            ),
            (
                |value| value["routes"][0]["path"] = json!("/users"),
                "the path must be",
            ),
            (
                |value| value["routes"][0]["feature"] = json!("fleet_budgets"),
                "not one the module declares",
            ),
            (
                |value| {
                    let mut twin = value["routes"][0].clone();
                    twin["path"] = json!("/fleet/groups/{other}");
                    value["routes"].as_array_mut().unwrap().push(twin);
                },
                "declared twice",
            ),
        ];
        for (change, expected) in cases {
            let error = parse_with(change).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn features_are_known_or_extensions() {
        assert!(is_feature("fleet_budgets") && is_feature("x_acme_backup"));
        assert!(!is_feature("fleet_unknown") && !is_feature("x_UPPER") && !is_feature(""));
    }
}
