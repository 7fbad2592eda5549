//! What every module's tests ask of its committed files: that `openapi.json` is the document its handlers make, that its
//! declaration has exactly those routes and all migrations. Each check says what is wrong. Not what the routes do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::info::{Declaration, RouteKind};
use crate::sdk::{Migration, Module};

/// Set, the committed document is written anew before it is compared.
const UPDATE: &str = "UPDATE_OPENAPI";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A module's declaration beside what its code serves.
pub struct Declared {
    declaration: Declaration,
    openapi: PathBuf,
    served: Value,
    migrations: Vec<Migration>,
}

impl Declared {
    /// `text` is what the module gives [`export_module!`](crate::export_module), `folder` where its `openapi.json` lies
    /// (its `CARGO_MANIFEST_DIR`); `served` is the document its handlers make.
    pub fn read<M: Module>(text: &str, folder: &str, served: Value) -> Result<Self, String> {
        Ok(Self {
            declaration: Declaration::parse(text).map_err(|error| error.to_string())?,
            openapi: Path::new(folder).join("openapi.json"),
            served,
            migrations: M::migrations(),
        })
    }

    /// The committed document is the one the handlers make.
    pub fn openapi_is_generated(&self) -> Result<(), String> {
        let served = format!("{:#}\n", self.served);
        let file = &self.openapi;
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(file, &served).map_err(|error| told(file, &error))?;
        }
        let committed = std::fs::read_to_string(file).map_err(|error| told(file, &error))?;
        if committed == served {
            return Ok(());
        }
        Err(format!(
            "{}: run the test with {UPDATE}=1 and look at the difference",
            file.display()
        ))
    }

    /// Exactly the routes of the document are declared.
    pub fn routes_are_documented(&self) -> Result<(), String> {
        let routes = self.declaration.routes.iter();
        let declared: BTreeSet<String> = routes
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        let paths = self.served.get("paths").and_then(Value::as_object);
        let mut documented = BTreeSet::new();
        for (path, item) in paths.into_iter().flatten() {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            documented.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
        }
        same("routes", &declared, &documented)
    }

    /// Each route is of this feature, and of the kind and for the role that `expected` has for its method and path.
    pub fn routes_are(
        &self,
        feature: &str,
        expected: impl Fn(&str, &str) -> (RouteKind, &'static str),
    ) -> Result<(), String> {
        for route in &self.declaration.routes {
            let is = (route.kind, route.role.as_str(), route.feature.as_str());
            let (kind, role) = expected(&route.method, &route.path);
            let place = format!("{} {}", route.method, route.path);
            same(&place, &is, &(kind, role, feature))?;
        }
        Ok(())
    }

    /// All migrations are declared, numbered from 1, and every table and index they make has the module's name before its own.
    pub fn migrations_are_declared(&self) -> Result<(), String> {
        let numbers: Vec<u32> = self.migrations.iter().map(|one| one.version).collect();
        same(
            "migrations",
            &(1..=self.declaration.migrations).collect(),
            &numbers,
        )?;
        let prefix = format!(" {}_", self.declaration.name);
        for migration in &self.migrations {
            for sql in [migration.sqlite, migration.postgres] {
                let mut made = sql.lines().filter(|line| line.starts_with("CREATE"));
                if let Some(foreign) = made.find(|line| !line.contains(&prefix)) {
                    return Err(format!("not the module's own: {foreign}"));
                }
            }
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, expected: &T) -> Result<(), String> {
    if is == expected {
        return Ok(());
    }
    Err(format!("{what}: {is:?} is declared, not {expected:?}"))
}

fn told(file: &Path, error: &impl std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
