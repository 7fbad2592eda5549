//! Between the boundary's requests and responses and those of axum.

use std::borrow::Cow;
use std::sync::Arc;

use abi_stable::std_types::{ROption, RResult, RString, RVec};
use async_ffi::FfiFuture;
use axum::Router;
use axum::body::{Body, BodyDataStream, HttpBody as _};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use fleetwright_http_kit::{MEDIA_TYPE, Problem, request_id};
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tower::ServiceExt as _;

use super::{CallContext, ServerError};
use crate::abi::{
    AbiBody, AbiError, AbiHeaderPair, AbiRequest, AbiResponse, BodyStream, BodyStream_TO, Ctx,
    error_code,
};
use crate::guard;

/// Of a plain-text error (axum's own rejections), at most this much becomes the problem's detail.
const REJECTION_CHARS_MAX: usize = 300;
/// A response collected from another route: what the largest page of a list can be.
const COLLECTED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers a request with the router. Every error becomes a problem with the request's id.
pub async fn serve(router: Router, request: AbiRequest, runtime: Handle) -> AbiResponse {
    let context = CallContext::from(&request.ctx);
    request_id::within(context.request_id.clone(), async {
        let response = match axum_request(request, context) {
            Ok(request) => match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(problem) => problem.into_response(),
        };
        abi_response(finish(response).await, runtime).await
    })
    .await
}

/// The answer to a request whose handler panicked.
pub(crate) fn panicked(_message: String) -> AbiResponse {
    problem_response(&Problem::internal_silent())
}

/// A problem as a response of the boundary.
pub fn problem_response(problem: &Problem) -> AbiResponse {
    let pair = |name: &str, value: &[u8]| AbiHeaderPair {
        name: RString::from(name),
        value: RVec::from(value.to_vec()),
    };
    let mut headers = vec![pair("content-type", MEDIA_TYPE.as_bytes())];
    let more = problem.headers().iter();
    headers.extend(more.map(|(name, value)| pair(name.as_str(), value.as_bytes())));
    AbiResponse {
        status: problem.status().as_u16(),
        headers: headers.into(),
        body: AbiBody {
            bytes: problem.body().to_string().into_bytes().into(),
            stream: ROption::RNone,
        },
        ext: RVec::new(),
    }
}

/// A request of this side for another: the body whole, the identity beside it.
pub fn abi_request(context: &CallContext, request: Request<Bytes>) -> AbiRequest {
    let (parts, body) = request.into_parts();
    AbiRequest {
        ctx: Ctx::from(context),
        method: RString::from(parts.method.as_str()),
        uri: RString::from(parts.uri.to_string()),
        headers: pairs(&parts.headers),
        body: Vec::from(body).into(),
        ext: RVec::new(),
    }
}

/// A whole response from another side, its stream read to the end.
pub async fn collect_response(response: AbiResponse) -> Result<http::Response<Bytes>, ServerError> {
    let body = match response.body.stream {
        ROption::RNone => Bytes::from(Vec::from(response.body.bytes)),
        ROption::RSome(stream) => {
            let mut collected = BytesMut::new();
            while let ROption::RSome(chunk) = stream.next().await.into_result()? {
                collected.extend_from_slice(&chunk);
                if collected.len() > COLLECTED_BYTES_MAX {
                    return Err(ServerError::TooLarge(
                        "the response is over 16 MiB".to_owned(),
                    ));
                }
            }
            collected.freeze()
        }
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(response.status)
        .map_err(|error| ServerError::Internal(error.to_string()))?;
    for pair in &response.headers {
        if let Some((name, value)) = header_of(pair) {
            answer.headers_mut().append(name, value);
        }
    }
    Ok(answer)
}

fn axum_request(request: AbiRequest, context: CallContext) -> Result<Request<Body>, Problem> {
    let body = Bytes::from(Vec::from(request.body));
    let mut built = Request::builder()
        .method(request.method.as_str())
        .uri(request.uri.as_str())
        .body(Body::from(body))
        .map_err(|_| Problem::malformed("The request line is not valid."))?;
    for pair in &request.headers {
        if let Some((name, value)) = header_of(pair) {
            built.headers_mut().append(name, value);
        }
    }
    built.extensions_mut().insert(context);
    Ok(built)
}

/// Turns error texts of others (axum's own rejections) into problems.
async fn finish(response: Response) -> Response {
    let status = response.status();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|value| {
        value.starts_with(MEDIA_TYPE) || value.starts_with("application/json")
    });
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let text = match response.into_body().collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes())
            .chars()
            .take(REJECTION_CHARS_MAX)
            .collect(),
        Err(_) => String::new(),
    };
    rejection(status, text).into_response()
}

fn rejection(status: StatusCode, text: String) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::not_found("route"),
        StatusCode::BAD_REQUEST => Problem::malformed(text),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(""),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::media_type(),
        StatusCode::SERVICE_UNAVAILABLE => Problem::unavailable(),
        status if status.is_server_error() => {
            tracing::error!(%status, text, "a handler answered a plain error");
            Problem::internal_silent()
        }
        status => Problem::new(status, "invalid", text),
    }
}

/// A body of known length is sent whole, any other as a stream.
async fn abi_response(response: Response, runtime: Handle) -> AbiResponse {
    let (parts, body) = response.into_parts();
    let body = if body.size_hint().exact().is_some() {
        match body.collect().await {
            Ok(collected) => AbiBody {
                bytes: Vec::from(collected.to_bytes()).into(),
                stream: ROption::RNone,
            },
            Err(error) => {
                tracing::error!(%error, "a response's body failed");
                return problem_response(&Problem::internal_silent());
            }
        }
    } else {
        let stream = Chunks {
            runtime,
            stream: Arc::new(Mutex::new(Some(body.into_data_stream()))),
        };
        let erased = BodyStream_TO::from_value(stream, abi_stable::sabi_trait::TD_Opaque);
        AbiBody {
            bytes: RVec::new(),
            stream: ROption::RSome(erased),
        }
    };
    AbiResponse {
        status: parts.status.as_u16(),
        headers: pairs(&parts.headers),
        body,
        ext: RVec::new(),
    }
}

struct Chunks {
    runtime: Handle,
    /// Gone at its end and after an error.
    stream: Arc<Mutex<Option<BodyDataStream>>>,
}

impl BodyStream for Chunks {
    fn next(&self) -> FfiFuture<RResult<ROption<RVec<u8>>, AbiError>> {
        let stream = Arc::clone(&self.stream);
        let next = async move {
            let mut slot = stream.lock().await;
            let Some(body) = slot.as_mut() else {
                return RResult::ROk(ROption::RNone);
            };
            match body.next().await {
                Some(Ok(chunk)) => RResult::ROk(ROption::RSome(Vec::from(chunk).into())),
                Some(Err(error)) => {
                    *slot = None;
                    RResult::RErr(AbiError::new(error_code::INTERNAL, error.to_string()))
                }
                None => {
                    *slot = None;
                    RResult::ROk(ROption::RNone)
                }
            }
        };
        guard::future(self.runtime.clone(), next, |message| {
            RResult::RErr(AbiError::new(error_code::PANICKED, message))
        })
    }
}

impl Drop for Chunks {
    /// The stream's own drop runs the module's code: inside its runtime, and a panic goes no further.
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        let stream = Arc::clone(&self.stream);
        guard::body(
            move || {
                if let Ok(mut slot) = stream.try_lock() {
                    *slot = None;
                }
            },
            |message| tracing::error!(message, "a stream panicked while it was dropped"),
        );
    }
}

fn pairs(headers: &http::HeaderMap) -> RVec<AbiHeaderPair> {
    headers
        .iter()
        .map(|(name, value)| AbiHeaderPair {
            name: RString::from(name.as_str()),
            value: RVec::from(value.as_bytes().to_vec()),
        })
        .collect()
}

/// The header as this side's types; none if it is not one.
pub fn header_of(pair: &AbiHeaderPair) -> Option<(HeaderName, HeaderValue)> {
    Some((
        HeaderName::from_bytes(pair.name.as_bytes()).ok()?,
        HeaderValue::from_bytes(&pair.value).ok()?,
    ))
}

impl From<&CallContext> for Ctx {
    fn from(context: &CallContext) -> Self {
        Self {
            request_id: RString::from(context.request_id.as_str()),
            principal: RString::from(context.principal.as_str()),
            principal_name: RString::from(context.principal_name.as_str()),
            role: RString::from(context.role.as_str()),
            tenant: context.tenant.as_deref().map(RString::from).into(),
            address: RString::from(context.address.as_str()),
            idempotency: context.idempotency,
            ext: scopes_out(&context.scopes),
        }
    }
}

impl From<&Ctx> for CallContext {
    fn from(ctx: &Ctx) -> Self {
        Self {
            request_id: ctx.request_id.to_string(),
            principal: ctx.principal.to_string(),
            principal_name: ctx.principal_name.to_string(),
            role: ctx.role.to_string(),
            tenant: ctx.tenant.as_ref().map(ToString::to_string).into_option(),
            scopes: scopes_in(&ctx.ext),
            address: ctx.address.to_string(),
            idempotency: ctx.idempotency,
        }
    }
}

/// What stands in the spare room of a [`Ctx`].
#[derive(Serialize, Deserialize)]
struct CtxMore<'a> {
    #[serde(default)]
    scopes: Cow<'a, [String]>,
}

fn scopes_out(scopes: &[String]) -> RVec<u8> {
    if scopes.is_empty() {
        return RVec::new();
    }
    let scopes = Cow::Borrowed(scopes);
    // Texts can always be written.
    let json = serde_json::to_vec(&CtxMore { scopes }).unwrap_or_default();
    RVec::from(json)
}

/// What cannot be read is a scope that allows nothing: no scopes at all would allow everything.
fn scopes_in(ext: &[u8]) -> Vec<String> {
    if ext.is_empty() {
        return Vec::new();
    }
    match serde_json::from_slice::<CtxMore<'_>>(ext) {
        Ok(more) => more.scopes.into_owned(),
        Err(_) => vec![String::new()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_crosses_whole_with_role_scopes_and_tenant() {
        let scoped = CallContext {
            request_id: "r".to_owned(),
            principal: "token:1".to_owned(),
            principal_name: "ci".to_owned(),
            role: "operator".to_owned(),
            tenant: Some("a".to_owned()),
            scopes: vec!["fleet.bulk".to_owned(), "hosts:read".to_owned()],
            address: "::1".to_owned(),
            idempotency: 7,
        };
        for context in [scoped, CallContext::default()] {
            assert_eq!(CallContext::from(&Ctx::from(&context)), context);
        }
        let mut unreadable = Ctx::from(&CallContext::default());
        unreadable.ext = RVec::from(b"{".to_vec());
        assert_eq!(
            CallContext::from(&unreadable).scopes,
            [""],
            "narrowed to nothing"
        );
    }
}
