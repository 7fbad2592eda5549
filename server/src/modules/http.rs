//! `/modules`: what is installed, and looking again. The Pro routes themselves are in `admit`.

mod admit;
mod forward;
mod refuse;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use admit::mount_fleet_routes;

use super::view::ModuleView;
use crate::app::AppState;
use crate::audit::{self, AuditContext};
use crate::auth::{Caller, Role};
use crate::db::DbError;
use crate::http::Problem;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_modules))
        .routes(routes!(rescan_modules))
}

/// A list that is always whole: a server has a handful of modules.
#[derive(Debug, Serialize, ToSchema)]
struct ModulesView {
    items: Vec<ModuleView>,
    next_cursor: Option<String>,
    /// Why the modules folder is not looked into, if it is not.
    folder_problem: Option<String>,
}

/// Installed modules, with what became of each file.
#[utoipa::path(get, path = "/modules", tag = "modules", responses((status = OK, body = ModulesView)))]
async fn list_modules(State(app): State<AppState>, caller: Caller) -> Json<ModulesView> {
    Json(view(&app, &caller))
}

/// Looks into the modules folder now.
#[utoipa::path(post, path = "/modules/rescan", tag = "modules", responses((status = OK, body = ModulesView)))]
async fn rescan_modules(
    State(app): State<AppState>,
    caller: Caller,
) -> Result<Json<ModulesView>, Problem> {
    let (context, now_us) = (AuditContext::from(&caller), app.clock.now_us());
    let entry = audit::entry("modules.rescan", "modules", "", json!({}));
    app.db
        .write(move |tx| audit::append(tx, now_us, &context, &entry))
        .await
        .map_err(|error: DbError| error)?;
    app.modules.rescan().await;
    Ok(Json(view(&app, &caller)))
}

/// Where things lie on the server is for its administrators.
fn view(app: &AppState, caller: &Caller) -> ModulesView {
    let mut items = app.modules.list();
    let mut folder_problem = app.modules.folder_problem();
    if caller.principal.role < Role::Admin {
        let reasons = items.iter_mut().map(|item| &mut item.reason);
        for text in reasons.chain([&mut folder_problem]).flatten() {
            *text = without_paths(text);
        }
    }
    ModulesView {
        items,
        next_cursor: None,
        folder_problem,
    }
}

fn without_paths(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let bare =
            word.trim_start_matches(|letter: char| !letter.is_alphanumeric() && letter != '/');
        if bare.starts_with('/') { "…" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_left_in_what_others_are_told() {
        for (told, left) in [
            (
                "/srv/modules may be written by its group or by others",
                "… may be written by its group or by others",
            ),
            (
                "it cannot be opened (\"/tmp/x\"): no",
                "it cannot be opened … no",
            ),
            ("bulk.so is a symbolic link", "bulk.so is a symbolic link"),
            ("read/write", "read/write"),
        ] {
            assert_eq!(without_paths(told), left);
        }
    }
}
