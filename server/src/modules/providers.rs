//! Who answers each Pro route: a loaded module, or nobody, and why. What the product declares comes first, what is there
//! takes its place.

use std::sync::Arc;

use fleetwright_plugin_api::info::RouteDeclaration;
use fleetwright_plugin_api::product;

use super::book::{Book, Refused};
use super::loaded::Loaded;

/// Where a route leads.
#[derive(Clone)]
pub enum Provider {
    /// Nobody serves it.
    Missing {
        module: String,
        absence: Absence,
    },
    Loaded(Arc<Loaded>),
}

/// Why there is no module behind a route: the first two reasons of a 402. The others are the licence's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// No file of the module is there.
    NotInstalled,
    /// A file of it is there, and was refused or did not start. The list of modules says why.
    Failed,
}

impl Absence {
    /// Of a module that is not loaded.
    pub fn of(book: &Book, module: &str) -> Self {
        if book.has_refused(module) {
            Self::Failed
        } else {
            Self::NotInstalled
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotInstalled => "module_not_installed",
            Self::Failed => "module_failed",
        }
    }
}

/// Every route and where it leads, as far as the book knows. Later ones replace earlier ones.
pub fn providers(book: &Book) -> Vec<(RouteDeclaration, Provider)> {
    let declared = product::declarations()
        .iter()
        .map(|one| (&one.name, &one.routes, Absence::of(book, &one.name)));
    // A signed module that does not load has routes of its own; an unsigned one may claim nothing, and neither may an
    // older file of a module that runs.
    let is_loaded = |name: &str| book.loaded().any(|loaded| loaded.info.name == name);
    let failed = book.refused().filter_map(|(_, refused)| match refused {
        Refused {
            info: Some(info),
            signed: true,
            ..
        } if !is_loaded(&info.name) => Some((&info.name, &info.routes, Absence::Failed)),
        _ => None,
    });
    let missing = declared.chain(failed).flat_map(|(name, routes, absence)| {
        let provider = Provider::Missing {
            module: name.clone(),
            absence,
        };
        let routes = routes.iter().cloned();
        routes.map(move |route| (route, provider.clone()))
    });
    let loaded = book.loaded().flat_map(|loaded| {
        let routes = loaded.info.routes.iter().cloned();
        routes.map(|route| (route, Provider::Loaded(Arc::clone(loaded))))
    });
    missing.chain(loaded).collect()
}
