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
use crate::auth::Caller;
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
async fn list_modules(State(app): State<AppState>) -> Json<ModulesView> {
    Json(view(&app))
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
    Ok(Json(view(&app)))
}

fn view(app: &AppState) -> ModulesView {
    ModulesView {
        items: app.modules.list(),
        next_cursor: None,
        folder_problem: app.modules.folder_problem(),
    }
}
