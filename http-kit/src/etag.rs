//! Optimistic concurrency: `ETag` on what can change, `If-Match` on what changes it, `If-None-Match` on reading it again.

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

/// The entity tag of a revision: `"7"`.
pub fn of(revision: i64) -> HeaderValue {
    // Digits and quotes are always a valid header value.
    HeaderValue::try_from(format!("\"{revision}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// The revisions a client expects: any if it sent no `If-Match` or `*`. A tag that was never ours, and a weak one, match
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfMatch(Tags);

impl IfMatch {
    /// What a client expects that sends no such header.
    pub const ANY: Self = Self(Tags::Any);

    pub fn one_of(revisions: impl Into<Vec<i64>>) -> Self {
        Self(Tags::OneOf(revisions.into()))
    }

    /// Whether a resource of this revision may be changed. Ask inside the transaction, or under the guard, that writes.
    pub fn matches(&self, revision: i64) -> bool {
        self.0.include(revision)
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let tags = Tags::read(&parts.headers, &header::IF_MATCH, |tag| tag);
        Ok(Self(tags.unwrap_or_default()))
    }
}

/// The revisions a client already has; none if it sent no `If-None-Match`. A weak tag is as good as its strong one: an
/// intermediary that compresses makes it of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfNoneMatch(Option<Tags>);

impl IfNoneMatch {
    /// The view with its tag, or 304 with the tag alone if the client has this revision.
    pub fn reply<T: Serialize>(&self, revision: i64, view: impl FnOnce() -> T) -> Response {
        let tag = [(header::ETAG, of(revision))];
        if self.0.as_ref().is_some_and(|tags| tags.include(revision)) {
            return (StatusCode::NOT_MODIFIED, tag).into_response();
        }
        (tag, Json(view())).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let tags = Tags::read(&parts.headers, &header::IF_NONE_MATCH, strong_form);
        Ok(Self(tags))
    }
}

fn strong_form(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Tags {
    #[default]
    Any,
    OneOf(Vec<i64>),
}

impl Tags {
    fn include(&self, revision: i64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(revisions) => revisions.contains(&revision),
        }
    }

    /// The tags of a header, each after `prepare`; `None` without the header.
    fn read(headers: &HeaderMap, name: &HeaderName, prepare: fn(&str) -> &str) -> Option<Self> {
        headers.contains_key(name).then_some(())?;
        let mut revisions = Vec::new();
        for value in headers.get_all(name) {
            for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Some(Self::Any);
                }
                let quoted = prepare(tag)
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'));
                revisions.extend(quoted.and_then(|number| number.parse::<i64>().ok()));
            }
        }
        Some(Self::OneOf(revisions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked<T: FromRequestParts<(), Rejection = Infallible>>(
        name: &str,
        values: &[&str],
    ) -> T {
        let mut request = http::Request::builder();
        for value in values {
            request = request.header(name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Ok(read) = T::from_request_parts(&mut parts, &()).await;
        read
    }

    #[tokio::test]
    async fn only_a_strong_tag_of_ours_or_a_star_matches() {
        assert_eq!(of(7), "\"7\"");
        let seen = async |values: &[&str]| asked::<IfMatch>("if-match", values).await;
        assert_eq!(seen(&[]).await, IfMatch::ANY);
        assert_eq!(seen(&["\"6\", *"]).await, IfMatch::ANY);
        assert_eq!(seen(&["\"7\""]).await, IfMatch::one_of([7]));
        assert_eq!(
            seen(&["\"6\", \"7\"", "\"9\""]).await,
            IfMatch::one_of([6, 7, 9])
        );
        for foreign in ["7", "\"x\"", "W/\"7\"", "\"", "", "\"7"] {
            assert!(!seen(&[foreign]).await.matches(7), "{foreign}");
        }
        assert!(IfMatch::ANY.matches(7) && !IfMatch::one_of([6]).matches(7));
    }

    #[tokio::test]
    async fn a_client_that_has_the_revision_is_not_sent_it_again() {
        for (values, status) in [
            (&[] as &[&str], 200),
            (&["\"6\""], 200),
            (&["7"], 200),
            (&["\"7\""], 304),
            (&["\"6\", \"7\""], 304),
            (&["W/\"7\""], 304),
            (&["*"], 304),
        ] {
            let seen: IfNoneMatch = asked("if-none-match", values).await;
            let reply = seen.reply(7, || "view");
            assert_eq!(reply.status(), status, "{values:?}");
            assert_eq!(reply.headers()[header::ETAG], "\"7\"");
        }
    }
}
