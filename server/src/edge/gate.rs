//! The gate each request passes: who is calling, may they, how much may they send, has this been asked before.
//! In this order: 401, 404/405, 429, 403, then the body. Of fleet routes only the first and 429 are judged here: who may,
//! and the body, where the module's route is known (`modules/http/admit.rs`).

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Extensions, HeaderMap, HeaderName, Method, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::access::{self, Access, BodySize, Lookup, Rule};
use super::serve::Seat;
use crate::app::{App, AppState};
use crate::auth::bearer::API_TOKEN_PREFIX;
use crate::auth::http::identified::Identified;
use crate::auth::identities::Identity;
use crate::auth::rate::Key;
use crate::auth::{self, AskedScope, Asks, Caller, Principal, Role, Standing};
use crate::http::Problem;
use crate::http::idempotency::{Begin, IdempotencyClaim};
use crate::http::peer;
use crate::http::request_id;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The middleware, around every route and the fallback.
pub async fn gate(State(app): State<AppState>, request: Request, next: Next) -> Response {
    match admit(&app, request).await {
        Ok(Admitted::Serve(request)) => next.run(*request).await,
        Ok(Admitted::Replay(response)) => response,
        Err(problem) => problem.into_response(),
    }
}

enum Admitted {
    Serve(Box<Request>),
    Replay(Response),
}

async fn admit(app: &App, mut request: Request) -> Result<Admitted, Problem> {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    // A request that matched no route is judged by its own path: below the base it must be authenticated too,
    // so that nobody learns which routes exist.
    let pattern = matched
        .as_ref()
        .map_or(request.uri().path(), MatchedPath::as_str);
    let rule = match access::rule(request.method(), pattern) {
        Lookup::Known(rule) => rule,
        Lookup::OtherMethod { public: true } => return Ok(Admitted::Serve(Box::new(request))),
        Lookup::OtherMethod { public: false } => {
            identify(app, request.headers(), request.extensions()).await?;
            return Ok(Admitted::Serve(Box::new(request)));
        }
        Lookup::Unknown => {
            if pattern.starts_with("/api/") {
                identify(app, request.headers(), request.extensions()).await?;
            }
            return match matched {
                // A route without a rule: default deny.
                Some(_) => Err(Problem::forbidden("Nobody may use this route.")),
                None => Ok(Admitted::Serve(Box::new(request))),
            };
        }
    };
    DefaultBodyLimit::max(rule.body.bytes_max()).apply(&mut request);
    if rule.access == Access::Public {
        refuse_declared_too_large(&request, rule)?;
        return Ok(Admitted::Serve(Box::new(request)));
    }
    let (identity, standing) = identify(app, request.headers(), request.extensions()).await?;
    let moment_us = app.clock.monotonic_us();
    let key = Key::of(&[&identity.principal.id]);
    if let Some(seat) = request.extensions().get::<Seat>() {
        seat.keep_for(key);
    }
    app.request_rate
        .take(key, moment_us)
        .map_err(crate::http::limits::rate_limited)?;
    authorise(
        &identity.principal,
        rule.access,
        request.method(),
        request.uri().path(),
    )?;
    let mut claim = None;
    // What a module serves is judged further where its route is known, before the body there too.
    if rule.access != Access::Fleet {
        refuse_declared_too_large(&request, rule)?;
        match begin_idempotent(app, &identity.principal, &mut request, rule).await? {
            Some(Begin::Replay(response)) => return Ok(Admitted::Replay(response)),
            Some(Begin::Proceed(taken)) => claim = Some(taken),
            None => {}
        }
    }
    let caller = caller(identity.principal, claim, &request);
    request.extensions_mut().insert(Identified(identity.kind));
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(standing);
    Ok(Admitted::Serve(Box::new(request)))
}

/// 401 unless there is a valid bearer.
async fn identify(
    app: &App,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<(Identity, Standing), Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthenticated());
    };
    let bearer = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, bearer)| bearer.trim())
        .ok_or_else(Problem::unauthenticated)?;
    let found = app.auth.identities.find(bearer, app.clock.now()).await?;
    let found = found.ok_or_else(|| refused(app, bearer, extensions))?;
    let standing = Standing::of_bearer(&app.auth.identities, &app.clock, &found.principal, bearer);
    Ok((found, standing))
}

/// 401; 429 for an address that shows many API tokens which are none. A valid one is asked for no limit, and the token of a
/// session that is over is not counted: it was good a moment ago.
fn refused(app: &App, bearer: &str, extensions: &Extensions) -> Problem {
    if !bearer.starts_with(API_TOKEN_PREFIX) {
        return Problem::unauthenticated();
    }
    let address = peer::address(extensions);
    let moment_us = app.clock.monotonic_us();
    let counted = app.auth.attempts.count_bearer(&address, moment_us);
    counted.map_or_else(crate::http::limits::rate_limited, |()| {
        Problem::unauthenticated()
    })
}

/// 403 unless the caller may use this route of the core.
pub(super) fn authorise(
    principal: &Principal,
    access: Access,
    method: &Method,
    path: &str,
) -> Result<(), Problem> {
    let (role, scope) = match access {
        // A module's route says itself whom it serves.
        Access::Public | Access::Authenticated | Access::Fleet => return Ok(()),
        Access::Role(role) => (role, AskedScope::Path),
        Access::Runs => (Role::Operator, AskedScope::Operations),
    };
    let asks = Asks {
        role,
        scope,
        is_read: *method == Method::GET || *method == Method::HEAD,
        // Nothing of the core belongs to a tenant.
        tenants: false,
    };
    auth::judge(principal, asks, path)
}

/// Answered before the body is sent, when the client says how long it is.
fn refuse_declared_too_large(request: &Request, rule: Rule) -> Result<(), Problem> {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    match declared {
        Some(bytes) if bytes > rule.body.bytes_max() => Err(Problem::too_large()),
        Some(_) | None => Ok(()),
    }
}

async fn begin_idempotent(
    app: &App,
    principal: &Principal,
    request: &mut Request,
    rule: Rule,
) -> Result<Option<Begin>, Problem> {
    if request.method() != Method::POST || rule.body == BodySize::Blob {
        return Ok(None);
    }
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY).cloned() else {
        return Ok(None);
    };
    let body = take_body(request, rule.body.bytes_max()).await?;
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str());
    let idempotency = &app.idempotency;
    let fingerprint = idempotency.fingerprint(request.method().as_str(), path, &body);
    *request.body_mut() = Body::from(body);
    let lease_us = app.clock.lease_us();
    let begin = idempotency.begin(&app.db, lease_us, &principal.id, &key, fingerprint);
    begin.await.map(Some)
}

async fn take_body(request: &mut Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let body = std::mem::take(request.body_mut());
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large()),
        Err(_) => Err(Problem::malformed("The body could not be read.")),
    }
}

fn caller(principal: Principal, claim: Option<IdempotencyClaim>, request: &Request) -> Caller {
    Caller {
        principal,
        request_id: request_id::current().unwrap_or_default(),
        address: peer::address(request.extensions()),
        idempotency: claim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scopes;

    #[test]
    fn what_asks_for_a_role_is_judged_and_the_rest_is_let_through() {
        let hosts = "/api/v1/hosts/x/approve";
        let bulk = "/api/v1/fleet/bulk";
        let needs = Access::Role(Role::Operator);
        let scoped: &[&str] = &["hosts:read"];
        let cases = [
            (
                Role::Operator,
                None,
                scoped,
                needs,
                Method::GET,
                hosts,
                true,
            ),
            (
                Role::Operator,
                None,
                scoped,
                needs,
                Method::HEAD,
                hosts,
                true,
            ),
            (
                Role::Operator,
                None,
                scoped,
                needs,
                Method::POST,
                hosts,
                false,
            ),
            (Role::Viewer, None, scoped, needs, Method::GET, hosts, false),
            (
                Role::Operator,
                None,
                &["hosts", "commands", "fleet"],
                Access::Runs,
                Method::POST,
                hosts,
                false,
            ),
            (
                Role::Operator,
                None,
                &["operations"],
                Access::Runs,
                Method::POST,
                hosts,
                true,
            ),
            (
                Role::Viewer,
                None,
                &[],
                Access::Runs,
                Method::POST,
                hosts,
                false,
            ),
            (
                Role::Admin,
                Some("a"),
                &[],
                needs,
                Method::GET,
                hosts,
                false,
            ),
            (
                Role::Viewer,
                Some("a"),
                scoped,
                Access::Fleet,
                Method::POST,
                bulk,
                true,
            ),
            (
                Role::Viewer,
                Some("a"),
                scoped,
                Access::Authenticated,
                Method::POST,
                hosts,
                true,
            ),
        ];
        for (role, tenant, scopes, access, method, path, allowed) in cases {
            let scopes = scopes.iter().map(|text| text.parse().expect("a scope"));
            let who = Principal {
                id: "token:1".to_owned(),
                name: "t".to_owned(),
                role,
                tenant: tenant.map(str::to_owned),
                scopes: Scopes(scopes.collect()),
            };
            let verdict = authorise(&who, access, &method, path);
            assert_eq!(verdict.is_ok(), allowed, "{who:?} {method} {path}");
        }
    }
}
