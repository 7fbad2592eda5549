//! The list of modules as people see it.

use serde::Serialize;
use utoipa::ToSchema;

use super::Modules;
use super::activity::Health;
use super::book::Outcome;
use super::loaded::{Loaded, Stage};

/// One file in the modules folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModuleView {
    pub name: String,
    pub version: Option<String>,
    pub description: String,
    pub features: Vec<String>,
    /// `running`, `unlicensed`, `starting`, `replacing`, `degraded`, `stuck` or `failed`.
    pub state: &'static str,
    /// Why it is not loaded, or not running.
    pub reason: Option<String>,
    pub file: String,
    /// Whether the file is signed with a trusted key.
    pub signed: bool,
}

impl Modules {
    /// Every file in the modules folder, by file name.
    pub fn list(&self) -> Vec<ModuleView> {
        let book = self.book();
        let views = book.files().map(|(path, outcome)| {
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            match outcome {
                Outcome::Loaded(loaded) => loaded_view(loaded, file),
                Outcome::Refused(refused) => {
                    let stem = path
                        .file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    let info = refused.info.as_deref();
                    ModuleView {
                        name: info.map_or(stem, |info| info.name.clone()),
                        version: info.map(|info| info.version.to_string()),
                        description: info
                            .map(|info| info.description.clone())
                            .unwrap_or_default(),
                        features: info.map(|info| info.features.clone()).unwrap_or_default(),
                        state: "failed",
                        reason: Some(refused.reason.clone()),
                        file,
                        signed: refused.signed,
                    }
                }
            }
        });
        views.collect()
    }

    /// Why the modules folder is not looked into, if it is not.
    pub fn folder_problem(&self) -> Option<String> {
        self.book().folder_problem.clone()
    }
}

fn loaded_view(loaded: &Loaded, file: String) -> ModuleView {
    let (state, reason) = match (loaded.stage(), loaded.activity.health()) {
        (Stage::Waiting, _) => (
            "unlicensed",
            Some(format!(
                "no licence of its signer ({}) covers its features",
                loaded.signer
            )),
        ),
        (Stage::Starting, _) => ("starting", None),
        (Stage::Leaving, _) => ("replacing", None),
        (Stage::Failed, _) => ("failed", loaded.failure()),
        (Stage::Running, Health::Good) => ("running", None),
        (Stage::Running, Health::Degraded) => (
            "degraded",
            Some("it misses its deadline again and again".to_owned()),
        ),
        (Stage::Running, Health::Stuck) => ("stuck", Some("it blocks its thread".to_owned())),
    };
    ModuleView {
        name: loaded.info.name.clone(),
        version: Some(loaded.info.version.to_string()),
        description: loaded.info.description.clone(),
        features: loaded.info.features.clone(),
        state,
        reason,
        file,
        signed: true,
    }
}
