//! Optimistic concurrency: `ETag` on what can change, `If-Match` on what changes it.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderValue, header};

use super::problem::Problem;

/// The entity tag of a revision: `"7"`.
pub fn of(revision: i64) -> HeaderValue {
    // Digits and quotes are always a valid header value.
    HeaderValue::try_from(format!("\"{revision}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// The revisions the client expects; absent when it sent no `If-Match`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfMatch(Option<Vec<String>>);

impl IfMatch {
    /// 412 if the client expects another revision. Call it inside the transaction that writes.
    pub fn check(&self, revision: i64) -> Result<(), Problem> {
        if self.matches(revision) {
            Ok(())
        } else {
            Err(Problem::precondition_failed())
        }
    }

    pub fn matches(&self, revision: i64) -> bool {
        let wanted = format!("\"{revision}\"");
        self.0
            .as_ref()
            .is_none_or(|tags| tags.iter().any(|tag| *tag == "*" || *tag == wanted))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut tags = Vec::new();
        for value in parts.headers.get_all(header::IF_MATCH) {
            let text = value
                .to_str()
                .map_err(|_| Problem::malformed("If-Match is not a list of entity tags."))?;
            tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
        }
        let present = parts.headers.contains_key(header::IF_MATCH);
        Ok(Self(present.then_some(tags)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(value: Option<&str>) -> IfMatch {
        let mut request = http::Request::builder();
        if let Some(value) = value {
            request = request.header("if-match", value);
        }
        let (mut parts, ()) = request.body(()).expect("request").into_parts();
        IfMatch::from_request_parts(&mut parts, &())
            .await
            .expect("header")
    }

    #[tokio::test]
    async fn only_a_listed_tag_or_a_star_matches() {
        assert!(read(None).await.matches(7));
        assert!(read(Some("*")).await.matches(7));
        assert!(read(Some("\"6\", \"7\"")).await.matches(7));
        assert!(!read(Some("\"6\"")).await.matches(7));
        assert!(!read(Some("7")).await.matches(7), "a tag is quoted");
        assert!(
            !read(Some("W/\"7\"")).await.matches(7),
            "weak tags never match"
        );
        assert_eq!(of(7), "\"7\"");
    }
}
