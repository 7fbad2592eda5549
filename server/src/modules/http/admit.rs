//! Who may come in under `/api/v1/fleet`. The order of checks is 401, 404, 405, 403, 402, and only then the body: its
//! size, its idempotency key. What is let in goes on in `forward`; what is turned away is told so by `refuse`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use fleetwright_plugin_api::info::RouteKind;
use fleetwright_plugin_api::wire::CallContext;
use http::{HeaderMap, Uri, header};

use super::super::Modules;
use super::super::judge::{self, BASE};
use super::super::loaded::{Loaded, Stage};
use super::super::providers::{Absence, Provider};
use super::super::routes::Found;
use super::refuse;
use crate::auth::{self, Caller, Standing};
use crate::db::DbError;
use crate::http::Problem;
use crate::http::idempotency::Begin;
use crate::licensing::Access;

/// Adds the Pro routes to a router that is served under `/api/v1`, behind authentication.
pub fn mount_fleet_routes<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    modules: Modules,
) -> Router<S> {
    let handler = move |uri: OriginalUri, request: Request| {
        let modules = modules.clone();
        async move {
            modules
                .serve(uri.0, request)
                .await
                .unwrap_or_else(Problem::into_response)
        }
    };
    router
        .route("/fleet", any(handler.clone()))
        .route("/fleet/{*rest}", any(handler))
}

impl Modules {
    async fn serve(&self, uri: Uri, request: Request) -> Result<Response, Problem> {
        let caller = request
            .extensions()
            .get::<Caller>()
            .cloned()
            .ok_or_else(Problem::unauthenticated)?;
        let standing = request
            .extensions()
            .get::<Standing>()
            .cloned()
            .ok_or_else(Problem::unauthenticated)?;
        let Admitted {
            loaded,
            body_bytes_max,
        } = self.admit(&caller, request.method().as_str(), uri.path())?;
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, body_bytes_max).await?;
        let begun = self.begin_once(caller, &parts.method, &uri, &parts.headers, &body);
        match begun.await? {
            Begun::Go(caller) => {
                let whole = (parts, body);
                self.forward(&loaded, caller, standing, &uri, whole).await
            }
            Begun::Replay(response) => Ok(response),
        }
    }

    /// Everything that is decided before the body is looked at.
    fn admit(&self, caller: &Caller, method: &str, path: &str) -> Result<Admitted, Problem> {
        let table = self.table();
        let entry = match table.find(method, path.strip_prefix(BASE).unwrap_or(path)) {
            Found::Route(entry) => entry,
            Found::OtherMethods(methods) => {
                return Err(Problem::method_not_allowed(&methods.join(", ")));
            }
            Found::Nothing => return Err(Problem::not_found("route")),
        };
        judge::route(caller, &entry.route, path)?;
        let feature = entry.route.feature.as_str();
        let loaded = match &entry.provider {
            Provider::Missing { module, absence } => {
                return Err(refuse::missing(feature, module, *absence));
            }
            Provider::Loaded(loaded) => loaded,
        };
        let info = &loaded.info;
        match self.parts().licensing.access(feature, loaded.licensable()) {
            Access::Full => {}
            Access::ContinueOnly(_) if entry.route.kind != RouteKind::New => {}
            Access::ContinueOnly(reason) | Access::Nothing(reason) => {
                return Err(refuse::unlicensed(feature, &info.name, reason));
            }
        }
        if loaded.stage() == Stage::Failed {
            return Err(refuse::missing(feature, &info.name, Absence::Failed));
        }
        if loaded.serving().is_none() {
            return Err(refuse::not_serving(loaded));
        }
        Ok(Admitted {
            loaded: Arc::clone(loaded),
            body_bytes_max: entry.route.body_bytes_max as usize,
        })
    }

    /// Takes the request's idempotency key.
    async fn begin_once(
        &self,
        mut caller: Caller,
        method: &http::Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Begun, Problem> {
        let Some(key) = headers
            .get("idempotency-key")
            .filter(|_| method == http::Method::POST)
        else {
            return Ok(Begun::Go(caller));
        };
        let parts = self.parts();
        let path = uri
            .path_and_query()
            .map_or_else(|| uri.path(), |path| path.as_str());
        let same = parts.idempotency.fingerprint(method.as_str(), path, body);
        let begin = parts
            .idempotency
            .begin(
                &parts.db,
                parts.clock.lease_us(),
                &caller.principal.id,
                key,
                same,
            )
            .await?;
        Ok(match begin {
            Begin::Proceed(claim) => {
                caller.idempotency = Some(claim);
                Begun::Go(caller)
            }
            Begin::Replay(response) => Begun::Replay(response),
        })
    }

    /// What a module is told of a principal that may use this route now, and that is not calling.
    pub(in crate::modules) async fn acting(
        &self,
        principal: &str,
        method: &str,
        path: &str,
    ) -> Result<Option<CallContext>, DbError> {
        let parts = self.parts();
        let principal = auth::delegation::of(&parts.db, principal, parts.clock.now_us()).await?;
        let caller = principal.map(|principal| Caller {
            principal,
            request_id: parts.clock.new_id().to_string(),
            address: String::new(),
            idempotency: None,
        });
        let table = self.table();
        let may =
            |caller: &Caller| match table.find(method, path.strip_prefix(BASE).unwrap_or(path)) {
                Found::Route(entry) => judge::route(caller, &entry.route, path).is_ok(),
                Found::OtherMethods(_) | Found::Nothing => false,
            };
        Ok(caller.filter(may).map(|caller| caller.to_context()))
    }
}

struct Admitted {
    loaded: Arc<Loaded>,
    /// What the route declares.
    body_bytes_max: usize,
}

enum Begun {
    Go(Caller),
    Replay(Response),
}

async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(Problem::too_large());
    }
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        return Err(Problem::media_type());
    }
    // What exceeds the limit while it is read, and what breaks off, end the same way for the client.
    axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| Problem::too_large())
}
