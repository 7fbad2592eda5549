//! The info JSON of a module: what it is called, what it provides, which routes it will answer. The server reads it from
//! the file before anything of the module runs; the command line reads it to sign.
//!
//! Pure: parsing and checking of one document. Whether its routes collide with another's is the server's registry.

mod routes;

use std::collections::BTreeSet;

use fleetwright_http_kit::json;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use routes::{BODY_BYTES_BOUND, Role, RouteDeclaration, RouteKind};

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
    /// 1 to 24 lower-case letters, digits and underscores, letter first. Prefixes its tables.
    pub name: String,
    /// The package's. Of two files of one module the one of the higher version is used.
    pub version: Version,
    /// The ABI epoch it was built for.
    pub abi: u32,
    /// A requirement on the server's module-API version.
    pub host_api: VersionReq,
    /// Those its routes need of a licence: of [`KNOWN_FEATURES`], or `x_…`.
    pub features: Vec<String>,
    /// At most 256; no two with one method and shape.
    pub routes: Vec<RouteDeclaration>,
    /// The OpenAPI document of its routes; the server merges it into its own.
    #[serde(default)]
    pub openapi: Value,
    /// How many migrations it carries.
    #[serde(default)]
    pub migrations: u32,
    /// One sentence for the module list.
    #[serde(default)]
    pub description: String,
}

/// What a module's author writes in one file: its info but for the version, the ABI and the OpenAPI document, which the
/// export macro adds. The product's own are in [`crate::product`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Declaration {
    /// As in [`ModuleInfo::name`].
    pub name: String,
    /// A requirement on the server's module-API version, such as `^0.1`.
    pub host_api: VersionReq,
    /// As in [`ModuleInfo::features`].
    pub features: Vec<String>,
    /// As in [`ModuleInfo::routes`].
    pub routes: Vec<RouteDeclaration>,
    /// How many migrations [`crate::sdk::Module::migrations`] gives.
    #[serde(default)]
    pub migrations: u32,
    /// One sentence for the module list.
    #[serde(default)]
    pub description: String,
}

/// Why an info document is refused; each is one line for the module list.
#[derive(Debug, thiserror::Error)]
pub enum InfoError {
    /// Not JSON, of another shape, or (of a declaration) with fields nobody reads.
    #[error("the module's info is not readable: {0}")]
    Json(String),
    /// Not a module name; its first 64 characters.
    #[error(
        "the module's name `{0}` must be 1 to 24 lower-case letters, digits or underscores, letter first"
    )]
    Name(String),
    /// Neither known nor an `x_` of one's own; its first 64 characters.
    #[error("unknown feature `{0}`: a feature is a known code or starts with x_")]
    UnknownFeature(String),
    /// `METHOD /path`, and what is wrong with it.
    #[error("route {0}: {1}")]
    Route(String, &'static str),
    /// How many it has.
    #[error("it declares {0} routes, at most 256 are allowed")]
    TooManyRoutes(usize),
    /// The server's module API does not meet the requirement.
    #[error("it needs module API {needed}, this server has {has}")]
    ServerApi {
        /// The requirement of the module.
        needed: String,
        /// The version of the server.
        has: String,
    },
}

impl ModuleInfo {
    /// Parses and checks everything that can be said without knowing other modules.
    pub fn parse(json: &[u8]) -> Result<Self, InfoError> {
        let info: Self =
            serde_json::from_slice(json).map_err(|error| InfoError::Json(error.to_string()))?;
        check(&info.name, &info.features, &info.routes)?;
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

    /// The name in an info document of which nothing else need be readable.
    pub fn name_in(json: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let named: Named = serde_json::from_slice(json).ok()?;
        is_module_name(&named.name).then_some(named.name)
    }
}

impl Declaration {
    /// Refuses a field that nobody reads: a typo in a limit would silently be the default. An info is read leniently
    /// instead, for a newer SDK may say more.
    pub fn parse(text: &str) -> Result<Self, InfoError> {
        let document = json::parse(text.as_bytes())
            .map_err(|problem| InfoError::Json(problem.detail().to_owned()))?;
        let mut unknown = Vec::new();
        let read = serde_ignored::deserialize(&document, |path| {
            let pointer = path.to_string().replace('.', "/");
            unknown.push(format!("/{pointer} unknown-field"));
        });
        let declaration: Self =
            read.map_err(|error: serde_json::Error| InfoError::Json(error.to_string()))?;
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            return Err(InfoError::Json(unknown));
        }
        let Self {
            name,
            features,
            routes,
            ..
        } = &declaration;
        check(name, features, routes)?;
        Ok(declaration)
    }
}

fn check(name: &str, features: &[String], routes: &[RouteDeclaration]) -> Result<(), InfoError> {
    if !is_module_name(name) {
        return Err(InfoError::Name(name.chars().take(64).collect()));
    }
    if let Some(unknown) = features.iter().find(|feature| !is_feature(feature)) {
        return Err(InfoError::UnknownFeature(
            unknown.chars().take(64).collect(),
        ));
    }
    if routes.len() > ROUTES_MAX {
        return Err(InfoError::TooManyRoutes(routes.len()));
    }
    let mut seen = BTreeSet::new();
    for route in routes {
        let fail = |why| InfoError::Route(format!("{} {}", route.method, route.path), why);
        if let Some(fault) = route.fault() {
            return Err(fail(fault));
        }
        if !features.contains(&route.feature) {
            return Err(fail("its feature is not one the module declares"));
        }
        if !seen.insert((&route.method, route.shape())) {
            return Err(fail("it is declared twice"));
        }
    }
    Ok(())
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

/// 1 to 24 lower-case ASCII letters, digits and underscores, letter first.
pub fn is_module_name(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
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
        let cases: [(Change, &str); 10] = [
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
                |value| value["routes"][0]["body_bytes_max"] = json!(8 * 1024 * 1024 + 1),
                "8 MiB at most",
            ),
            (
                |value| value["routes"][0]["body_bytes_max"] = json!(0),
                "1 byte at least",
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
    fn what_is_not_declared_of_a_route_is_the_least() {
        let info = parse_with(|_| {}).unwrap();
        assert_eq!(
            (info.routes[0].body_bytes_max, info.routes[0].tenants),
            (1024 * 1024, false)
        );
    }

    #[test]
    fn a_declaration_has_no_field_that_nobody_reads() {
        let mut value = document();
        for added in ["version", "abi"] {
            value.as_object_mut().unwrap().remove(added);
        }
        let declaration = Declaration::parse(&value.to_string()).unwrap();
        assert_eq!(declaration.routes, parse_with(|_| {}).unwrap().routes);
        value["routes"][0]["body_byte_max"] = json!(1);
        let error = Declaration::parse(&value.to_string()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("/routes/0/body_byte_max unknown-field"),
            "{error}"
        );
    }

    #[test]
    fn a_name_is_found_where_nothing_else_can_be_read() {
        let name = |text: &str| ModuleInfo::name_in(text.as_bytes());
        assert_eq!(
            name(r#"{"name":"bulk","routes":7}"#).as_deref(),
            Some("bulk")
        );
        assert_eq!(name(r#"{"name":"Bulk!"}"#), None);
        assert_eq!(name("bulk"), None);
    }

    #[test]
    fn features_are_known_or_extensions() {
        assert!(is_feature("fleet_budgets") && is_feature("x_acme_backup"));
        assert!(!is_feature("fleet_unknown") && !is_feature("x_UPPER") && !is_feature(""));
    }
}
