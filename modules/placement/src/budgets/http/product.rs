//! The product in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use fleetwright_plugin_api::sdk::Problem;
use fleetwright_plugin_api::sdk::axum::http::request::Parts;
use fleetwright_protocol::text;

use super::super::request::PRODUCT_CHARS_MAX;

/// What budgets are kept for, as jobs name it: one line of text. Anything else is 400 `malformed`.
#[derive(Clone, Debug)]
pub struct ProductPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ProductPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let refused = || {
            Problem::malformed(format!(
                "The product in the path is not one line of at most {PRODUCT_CHARS_MAX} characters."
            ))
        };
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| refused())?;
        let product = parameters.iter().map(|(_, product)| product).next();
        product
            .filter(|product| !product.is_empty() && text::is_line(product, PRODUCT_CHARS_MAX))
            .map(|product| Self(product.to_owned()))
            .ok_or_else(refused)
    }
}
