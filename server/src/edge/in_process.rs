//! Requests that a module makes of the server, in process: the same routes and the same rules about roles, scopes and
//! tenants, with the identity the module passes on (`auth::carried`) instead of a bearer. Nothing here is reachable from outside.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::access::{self, Lookup};
use super::gate;
use crate::auth::{Caller, Standing};
use crate::http::Problem;
use crate::http::request_id;
use crate::modules::InProcess;

/// Serves requests with `routes`, which must have no gate of their own.
pub fn serve(routes: Router) -> InProcess {
    let routes = routes.layer(from_fn(admit));
    Arc::new(move |request, caller, standing| {
        let routes = routes.clone();
        Box::pin(async move {
            let id = caller.request_id.clone();
            request_id::within(id, answer(routes, request, caller, standing)).await
        })
    })
}

async fn answer(
    routes: Router,
    request: http::Request<Bytes>,
    caller: Caller,
    standing: Standing,
) -> http::Response<Bytes> {
    let mut request = request.map(Body::from);
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(standing);
    let response = match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    // A stream is read to its end; an endless one is ended by the caller's own deadline.
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    http::Response::from_parts(parts, body)
}

async fn admit(mut request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let pattern = matched
        .as_ref()
        .map_or(request.uri().path(), MatchedPath::as_str);
    if let Lookup::Known(rule) = access::rule(request.method(), pattern) {
        DefaultBodyLimit::max(rule.body.bytes_max()).apply(&mut request);
        let Some(caller) = request.extensions().get::<Caller>() else {
            return Problem::unauthenticated().into_response();
        };
        let allowed = gate::authorise(
            &caller.principal,
            rule.access,
            request.method(),
            request.uri().path(),
        );
        if let Err(problem) = allowed {
            return problem.into_response();
        }
    } else if matched.is_some() {
        // A route without a rule, or without this method: default deny.
        return Problem::forbidden("Nobody may use this route.").into_response();
    }
    next.run(request).await
}
