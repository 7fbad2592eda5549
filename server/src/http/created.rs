//! The answer to a request that made something: kept for repetitions in the same transaction, then sent.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::idempotency::IdempotencyClaim;
use crate::db::{DbError, Tx};

/// A response that can be stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Created {
    /// 201 with the thing's place and view.
    pub fn at(location: impl Into<String>, view: &impl Serialize) -> Result<Self, DbError> {
        Self::with_status(StatusCode::CREATED, location, view)
    }

    /// 202 for work that has only begun.
    pub fn accepted(location: impl Into<String>, view: &impl Serialize) -> Result<Self, DbError> {
        Self::with_status(StatusCode::ACCEPTED, location, view)
    }

    #[must_use]
    pub fn with_etag(mut self, revision: i64) -> Self {
        self.headers
            .push(("etag".to_owned(), format!("\"{revision}\"")));
        self
    }

    /// Keeps this answer under the request's idempotency key, if it has one.
    pub fn keep(
        &self,
        tx: &mut Tx<'_>,
        lease_us: i64,
        claim: Option<&IdempotencyClaim>,
    ) -> Result<(), DbError> {
        match claim {
            Some(claim) => claim.store(tx, lease_us, self.status, &self.headers, &self.body),
            None => Ok(()),
        }
    }

    fn with_status(
        status: StatusCode,
        location: impl Into<String>,
        view: &impl Serialize,
    ) -> Result<Self, DbError> {
        let body = serde_json::to_string(view)
            .map_err(|error| DbError::Statement(format!("a view cannot be written: {error}")))?;
        Ok(Self {
            status: status.as_u16(),
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("location".to_owned(), location.into()),
            ],
            body,
        })
    }
}

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        response.headers_mut().remove(header::CONTENT_TYPE);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
