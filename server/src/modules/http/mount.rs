//! Leads every request under `/api/v1/fleet` to its module, or answers why not. The order of checks is 401, 404, 405,
//! 403, 402, and only then the body.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use fleetwright_plugin_api::abi::{AbiResponse, BodyStreamBox, ROption};
use fleetwright_plugin_api::info::RouteKind;
use fleetwright_plugin_api::sdk::adapter::{abi_request, header_of};
use fleetwright_plugin_api::wire::CallContext;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::dispatch::CallFailure;
use super::super::loaded::{Loaded, Stage};
use super::super::routes::{Entry, Found};
use super::super::{Modules, Provider};
use crate::auth::scope::area_of;
use crate::auth::{self, Caller, Role};
use crate::db::DbError;
use crate::http::Problem;
use crate::http::extract::too_large;
use crate::http::idempotency::{Begin, fingerprint};
use crate::licensing::Access;

const BASE: &str = "/api/v1";
/// The HTTP API's limits: for most bodies, and for those with a selector or host ids.
const BODY_BYTES_MAX: usize = 1024 * 1024;
const SELECTOR_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Routes whose bodies hold selectors or host ids.
const SELECTOR_ROUTES: [&str; 5] = [
    "/fleet/select",
    "/fleet/groups",
    "/fleet/bulk",
    "/fleet/rolling",
    "/fleet/schedules",
];
/// Chunks of a stream that wait for a slow client before the module waits too.
const CHUNKS_WAITING_MAX: usize = 4;
/// Where a customer gets what is missing.
const UPGRADE_URL: &str = "https://fleetwright.example/upgrade";
/// A module that is being replaced or started is back within seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

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
        let Admitted { loaded } = self.admit(&caller, request.method().as_str(), uri.path())?;
        let limit = body_limit(uri.path());
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, limit).await?;
        let caller = match self
            .begin_once(caller, &parts.method, &uri, &parts.headers, &body)
            .await?
        {
            Begun::Go(caller) => caller,
            Begun::Replay(response) => return Ok(response),
        };
        let mut forwarded = http::Request::new(body);
        *forwarded.method_mut() = parts.method;
        *forwarded.uri_mut() = relative(&uri);
        *forwarded.headers_mut() = without_credentials(parts.headers);
        // Counted before it is looked at: who replaces the module waits for all that may still find it serving.
        let request = loaded.activity.request();
        let Some(router) = loaded.serving() else {
            return Err(not_serving(&loaded));
        };
        let answer = router.handle(abi_request(&caller.to_context(), forwarded));
        // The key stays taken for as long as the module works, also when the client has gone.
        let held = (request, caller.idempotency);
        match self.call(&loaded, held, answer).await {
            Ok(answer) => Ok(self.response(&loaded, answer)),
            Err(CallFailure::Deadline) => {
                let detail = "The module did not answer within 30 s.";
                Err(Problem::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "deadline-exceeded",
                    detail,
                ))
            }
            Err(CallFailure::Lost) => Err(Problem::internal_silent()),
        }
    }

    /// Everything that is decided before the body is looked at.
    fn admit(&self, caller: &Caller, method: &str, path: &str) -> Result<Admitted, Problem> {
        let table = self.table();
        let entry = match table.find(method, path.strip_prefix(BASE).unwrap_or(path)) {
            Found::Route(entry) => entry,
            Found::OtherMethods(methods) => return Err(other_methods(&methods)),
            Found::Nothing => return Err(Problem::not_found("route")),
        };
        check_caller(caller, path, entry)?;
        let feature = entry.route.feature.as_str();
        let loaded = match &entry.provider {
            Provider::Absent(module) => {
                return Err(unavailable(feature, module, "module_not_installed"));
            }
            Provider::Failed(module) => return Err(unavailable(feature, module, "module_failed")),
            Provider::Loaded(loaded) => loaded,
        };
        let info = &loaded.info;
        match self
            .parts()
            .licensing
            .access(feature, &info.name, &info.version)
        {
            Access::Full => {}
            Access::ContinueOnly(_) if entry.route.kind != RouteKind::New => {}
            Access::ContinueOnly(reason) | Access::Nothing(reason) => {
                return Err(unavailable(feature, &info.name, reason.as_str()));
            }
        }
        if loaded.stage() == Stage::Failed {
            return Err(unavailable(feature, &info.name, "module_failed"));
        }
        if loaded.serving().is_none() {
            return Err(not_serving(loaded));
        }
        Ok(Admitted {
            loaded: Arc::clone(loaded),
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
        let same = fingerprint(method.as_str(), path, body);
        let begin = parts
            .idempotency
            .begin(
                &parts.db,
                parts.clock.now_us(),
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
        let standing = auth::standing::of(&parts.db, principal, parts.clock.now_us()).await?;
        let caller = standing.map(|principal| Caller {
            principal,
            request_id: parts.clock.new_id().to_string(),
            address: String::new(),
            idempotency: None,
        });
        let table = self.table();
        let may =
            |caller: &Caller| match table.find(method, path.strip_prefix(BASE).unwrap_or(path)) {
                Found::Route(entry) => check_caller(caller, path, entry).is_ok(),
                Found::OtherMethods(_) | Found::Nothing => false,
            };
        Ok(caller.filter(may).map(|caller| caller.to_context()))
    }

    fn response(&self, loaded: &Arc<Loaded>, answer: AbiResponse) -> Response {
        let body = match answer.body.stream {
            ROption::RNone => Body::from(Vec::from(answer.body.bytes)),
            ROption::RSome(stream) => self.stream_body(loaded, stream),
        };
        let mut response = Response::new(body);
        // A module answers with what it likes; what is not a status is its defect.
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in answer.headers.iter().filter_map(header_of) {
            if !is_of_the_connection(&name) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }

    /// A task on the modules' threads asks for chunks: the connection's own thread never runs a module's code.
    fn stream_body(&self, loaded: &Arc<Loaded>, stream: BodyStreamBox) -> Body {
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
        let pump = pump(stream, sender, loaded.streams.clone());
        drop(self.inner.runtime.spawn(loaded.activity.watch(pump)));
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver
                .recv()
                .await
                .map(|chunk: std::io::Result<Bytes>| (chunk, receiver))
        });
        Body::from_stream(chunks)
    }
}

struct Admitted {
    loaded: Arc<Loaded>,
}

enum Begun {
    Go(Caller),
    Replay(Response),
}

async fn pump(
    stream: BodyStreamBox,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
    end: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = sender.closed() => return,
            () = end.cancelled() => return,
        };
        let chunk = match next.into_result() {
            Ok(ROption::RSome(chunk)) => Ok(Bytes::from(Vec::from(chunk))),
            Ok(ROption::RNone) => return,
            Err(error) => Err(std::io::Error::other(error.message.to_string())),
        };
        let failed = chunk.is_err();
        if sender.send(chunk).await.is_err() || failed {
            return;
        }
    }
}

fn check_caller(caller: &Caller, path: &str, entry: &Entry<Provider>) -> Result<(), Problem> {
    let required = Role::from_name(entry.route.role.as_str()).unwrap_or(Role::Admin);
    caller.require(required)?;
    let is_read = entry.route.kind == RouteKind::Read;
    if !caller.principal.scopes.allow(&area_of(path), is_read) {
        return Err(Problem::forbidden(
            "The token's scopes do not include this.",
        ));
    }
    // Only placement knows tenants; elsewhere a tenant's token would see everybody's.
    if caller.principal.tenant.is_some() && entry.route.feature != "fleet_placement" {
        return Err(Problem::forbidden("The token belongs to a tenant."));
    }
    Ok(())
}

fn unavailable(feature: &str, module: &str, reason: &str) -> Problem {
    let detail = format!(
        "This needs the feature {feature} of the module {module}: {}.",
        reason.replace('_', " ")
    );
    Problem::new(
        StatusCode::PAYMENT_REQUIRED,
        "feature-not-available",
        detail,
    )
    .with_extension("feature", feature)
    .with_extension("module", module)
    .with_extension("reason", reason)
    .with_extension("upgrade_url", UPGRADE_URL)
}

fn not_serving(loaded: &Loaded) -> Problem {
    let detail = format!(
        "The module {} is not serving at the moment.",
        loaded.info.name
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        .with_retry_after(RETRY_AFTER_SECONDS)
}

fn other_methods(methods: &[&str]) -> Problem {
    let detail = "The route is known, with another method.";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
    match HeaderValue::try_from(methods.join(", ")) {
        Ok(methods) => problem.with_header(header::ALLOW, methods),
        Err(_) => problem,
    }
}

async fn read_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        let detail = "The body must not be compressed.";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            detail,
        ));
    }
    // What exceeds the limit while it is read, and what breaks off, end the same way for the client.
    axum::body::to_bytes(body, limit)
        .await
        .map_err(|_| too_large())
}

fn body_limit(path: &str) -> usize {
    let route = path.strip_prefix(BASE).unwrap_or(path);
    if SELECTOR_ROUTES
        .iter()
        .any(|prefix| route.starts_with(prefix))
    {
        SELECTOR_BODY_BYTES_MAX
    } else {
        BODY_BYTES_MAX
    }
}

/// Path and query only: the module has no business with the authority.
fn relative(uri: &Uri) -> Uri {
    uri.path_and_query()
        .and_then(|path| path.as_str().parse().ok())
        .unwrap_or_default()
}

fn without_credentials(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::AUTHORIZATION,
        header::COOKIE,
        header::PROXY_AUTHORIZATION,
    ] {
        headers.remove(name);
    }
    headers
}

fn is_of_the_connection(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::UPGRADE,
    ]
    .contains(name)
}
