//! Queries: every parameter is known and there once, or the request is refused; a typo must not be ignored. The query of
//! a list has a page and filters.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde_json::{Map, Value};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::input::{self, FromInput};
use crate::page::{self, LIMIT_MAX, Paging};
use crate::{Fields, Problem};

/// The query. What is no query, or has a parameter twice, is 400 `malformed`; an unknown parameter and a value of
/// another type are 422, as in a body.
#[derive(Clone, Copy, Debug)]
pub struct StrictQuery<T>(pub T);

/// The query of a list: which page, and of what. The cursor of another list, or of other filters, is 400 when it is
/// asked for.
#[derive(Clone, Debug)]
pub struct ListQuery<F = ()> {
    pub filters: F,
    pub paging: Paging,
}

impl<S: Sync, T: FromInput> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let parameters = parameters(parts.uri.query().unwrap_or_default())?;
        input::read_texts(Value::Object(parameters)).map(Self)
    }
}

impl<S: Sync, F: FromInput> FromRequestParts<S> for ListQuery<F> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let parameters = parameters(parts.uri.query().unwrap_or_default())?;
        let list = page::digest(parts.uri.path(), &parameters);
        let Listed {
            limit,
            cursor,
            filters,
        } = input::read_texts(Value::Object(parameters))?;
        Ok(Self {
            filters,
            paging: Paging::new(limit, cursor, list),
        })
    }
}

/// Both halves of a list's query, read from the one set of parameters.
struct Listed<F> {
    limit: Option<u32>,
    cursor: Option<String>,
    filters: F,
}

/// Which page, as the API's description has it: every list takes these two beside its own parameters.
#[derive(Debug)]
pub struct PageParameters;

impl utoipa::IntoParams for PageParameters {
    fn into_params(_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(LIMIT_MAX));
        let cursor = ObjectBuilder::new().schema_type(Type::String);
        [
            ("limit", limit, "Default 50."),
            (
                "cursor",
                cursor,
                "`next_cursor` of the page before, with the same filters.",
            ),
        ]
        .map(|(name, schema, description)| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .schema(Some(schema))
                .description(Some(description))
                .build()
        })
        .to_vec()
    }
}

impl<F: FromInput> FromInput for Listed<F> {
    fn from_input(value: Value, at: &mut input::At<'_>) -> Option<Self> {
        let mut fields = Fields::of(value, at)?;
        let limit = fields.take("limit");
        let cursor = fields.take("cursor");
        let (rest, at) = fields.into_rest();
        let limit = limit.and_then(|limit| page::checked(limit, at));
        let filters = F::from_input(rest, at);
        Some(Self {
            limit: limit?,
            cursor: cursor?,
            filters: filters?,
        })
    }
}

/// The parameters of a query, as texts by name.
fn parameters(query: &str) -> Result<Map<String, Value>, Problem> {
    let malformed =
        || Problem::malformed("The query cannot be read: it is not UTF-8, percent-encoded.");
    let mut parameters = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name).ok_or_else(malformed)?;
        let value = decoded(value).ok_or_else(malformed)?;
        if parameters.insert(name, Value::String(value)).is_some() {
            return Err(Problem::malformed("A query parameter is there twice."));
        }
    }
    Ok(parameters)
}

/// A part of a query; `None` for a wrong escape and for what is no UTF-8, which the usual decoders let pass.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                bytes.push(u8::try_from(high? * 16 + low?).ok()?);
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_input;

    #[derive(Debug, Default, PartialEq)]
    struct Filters {
        offset: Option<u64>,
        q: Option<String>,
        follow: Option<bool>,
    }

    from_input!(Filters { offset, q, follow });

    async fn query<T: FromRequestParts<(), Rejection = Problem>>(text: &str) -> Result<T, Problem> {
        let uri: http::Uri = format!("/list?{text}").parse().expect("a URI");
        let (mut parts, ()) = http::Request::builder()
            .uri(uri)
            .body(())
            .expect("built")
            .into_parts();
        T::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn a_query_is_read_or_refused_never_ignored() {
        let read = |text: &'static str| async move {
            query::<StrictQuery<Filters>>(text)
                .await
                .map(|StrictQuery(filters)| filters)
        };
        let filters = read("offset=5&q=a%20b+%C3%BC&follow=true&")
            .await
            .expect("read");
        assert_eq!((filters.offset, filters.follow), (Some(5), Some(true)));
        assert_eq!(filters.q.as_deref(), Some("a b \u{fc}"));
        assert_eq!(read("").await.expect("empty"), Filters::default());
        assert_eq!(read("q=5").await.expect("a text").q.as_deref(), Some("5"));
        let cases = [
            ("ofset=5", "unknown-field", "/ofset"),
            ("offset=x", "invalid-field", "/offset"),
            ("offset=", "invalid-field", "/offset"),
            ("offset=-1", "invalid-field", "/offset"),
            ("offset=%205", "invalid-field", "/offset"),
            ("follow=yes", "invalid-field", "/follow"),
            ("q=a&q=b", "malformed", ""),
            ("q=%zz", "malformed", ""),
            ("q=%f", "malformed", ""),
            ("q=%ff", "malformed", ""),
        ];
        for (text, code, pointer) in cases {
            let problem = read(text).await.expect_err(text);
            let place = problem.errors().first().map_or("", |error| &error.pointer);
            assert_eq!((problem.code(), place), (code, pointer), "{text}");
        }
        let problem = read("offset=x&follow=y&a=1").await.expect_err("refused");
        assert_eq!(problem.errors().len(), 3);
    }

    #[tokio::test]
    async fn a_list_has_a_page_and_filters_and_all_faults_of_both_are_told() {
        let asked: ListQuery<Filters> = query("limit=500&q=x").await.expect("read");
        assert_eq!(asked.paging.limit(), 500);
        assert_eq!(asked.filters.q.as_deref(), Some("x"));
        let asked: ListQuery = query("").await.expect("read");
        assert_eq!(asked.paging.limit(), 50);
        for text in ["limit=0", "limit=501", "limit=x", "limit="] {
            let problem = query::<ListQuery>(text).await.expect_err(text);
            assert_eq!(
                (problem.status().as_u16(), problem.code()),
                (422, "invalid-field"),
                "{text}"
            );
        }
        let problem = query::<ListQuery<Filters>>("limit=0&follow=y&typo=1").await;
        assert_eq!(problem.expect_err("refused").errors().len(), 3);
    }
}
