//! Calls to other modules and to the server's routes, in process, as the original caller or as the module.

use std::sync::Arc;

use abi_stable::std_types::{RBox, RString};
use bytes::Bytes;
use serde_json::Value;

use super::adapter::{abi_request, collect_response};
use super::{CallContext, CallError, ServerError};
use crate::abi::{AbiPayload, CallApi_TO, Ctx};

/// What a method takes and gives: JSON, and raw bytes beside it where JSON would be large.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// Null where there is none.
    pub json: Value,
    /// Empty where there is none.
    pub blob: Vec<u8>,
}

impl Payload {
    /// Without raw bytes.
    pub fn json(json: Value) -> Self {
        Self {
            json,
            blob: Vec::new(),
        }
    }
}

/// `fleet.call/1`.
#[derive(Clone)]
pub struct Call {
    api: Arc<CallApi_TO<RBox<()>>>,
}

impl Call {
    pub(crate) fn new(api: CallApi_TO<RBox<()>>) -> Self {
        Self { api: Arc::new(api) }
    }

    /// Another module's method; the two agree on its JSON. A module that is absent or not licensed is
    /// `CallError::Unavailable`.
    pub async fn invoke(
        &self,
        context: &CallContext,
        module: &str,
        method: &str,
        payload: Payload,
    ) -> Result<Payload, CallError> {
        let answer = self
            .api
            .invoke(
                Ctx::from(context),
                RString::from(module),
                RString::from(method),
                payload.into(),
            )
            .await
            .into_result()?;
        Ok(Payload::try_from(answer)?)
    }

    /// Any route of the server, with the checks (role, licence) it always has. The answer is read whole.
    pub async fn route(
        &self,
        context: &CallContext,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, CallError> {
        let answer = self
            .api
            .route(abi_request(context, request))
            .await
            .into_result()?;
        Ok(collect_response(answer).await?)
    }
}

impl From<Payload> for AbiPayload {
    fn from(payload: Payload) -> Self {
        Self {
            json: payload.json.to_string().into_bytes().into(),
            blob: payload.blob.into(),
            ..Self::default()
        }
    }
}

impl TryFrom<AbiPayload> for Payload {
    type Error = ServerError;

    /// Empty JSON is null.
    fn try_from(payload: AbiPayload) -> Result<Self, ServerError> {
        let json = if payload.json.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&payload.json)
                .map_err(|error| ServerError::Invalid(error.to_string()))?
        };
        Ok(Self {
            json,
            blob: payload.blob.into(),
        })
    }
}
