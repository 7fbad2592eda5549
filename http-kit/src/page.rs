//! Pages of lists. A cursor is where the next page starts, with a digest of the list and its filters, so that it opens
//! only where it was given out. It protects nothing, since it only says where to go on in what the caller may read
//! anyway; so it needs no secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::Problem;
use crate::input::At;

/// Entries of a page when the client does not say, and at most; both are promised by the API.
pub const LIMIT_DEFAULT: u32 = 50;
pub const LIMIT_MAX: u32 = 500;
/// Bytes of the digest: half of SHA-256, ample against taking one list for another.
const DIGEST_BYTES: usize = 16;
/// Longest cursor looked at; ours are a fraction of it.
const CURSOR_CHARS_MAX: usize = 2_048;

type ListDigest = [u8; DIGEST_BYTES];

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// The page a client asks for.
#[derive(Clone, Debug)]
pub struct Paging {
    limit: u32,
    cursor: Option<String>,
    /// Of the list and its filters.
    list: ListDigest,
}

impl Paging {
    pub(crate) fn new(limit: Option<u32>, cursor: Option<String>, list: ListDigest) -> Self {
        Self {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            cursor,
            list,
        }
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The position to continue after; none on the first page. A cursor that is not one of this list with these filters
    /// is 400.
    pub fn after<P: DeserializeOwned>(&self) -> Result<Option<P>, Problem> {
        let refused =
            || Problem::malformed("The cursor is not one of this list with these filters.");
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let opened = self.open(cursor).ok_or_else(refused)?;
        serde_json::from_slice(&opened)
            .map(Some)
            .map_err(|_| refused())
    }

    /// Cuts a page out of `rows`, which were read with a limit of one more: the extra row says that there is more.
    /// `position` is where the page after a given row starts.
    pub fn page<Row, T, P: Serialize>(
        &self,
        mut rows: Vec<Row>,
        position: impl Fn(&Row) -> P,
        view: impl FnMut(Row) -> T,
    ) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(position);
        self.page_until(rows.into_iter().map(view).collect(), next.as_ref())
    }

    /// A page that somebody else has cut; `next` is where the next one starts, if there is one.
    pub fn page_until<T, P: Serialize>(&self, items: Vec<T>, next: Option<&P>) -> Page<T> {
        Page {
            items,
            next_cursor: next.map(|position| self.seal(position)),
        }
    }

    fn seal(&self, position: &impl Serialize) -> String {
        // A position is made of ids, numbers and text, all of which JSON can say.
        let text = serde_json::to_vec(position).unwrap_or_default();
        let mut bytes = self.tag(&text).to_vec();
        bytes.extend_from_slice(&text);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn open(&self, cursor: &str) -> Option<Vec<u8>> {
        if cursor.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (tag, text) = bytes.split_at_checked(DIGEST_BYTES)?;
        (tag == self.tag(text)).then(|| text.to_vec())
    }

    /// Over the position too, so that a mangled cursor is told from one of ours.
    fn tag(&self, text: &[u8]) -> ListDigest {
        short(Sha256::new().chain_update(self.list).chain_update(text))
    }
}

/// Of the list at `path` with the filters among `parameters`, in whatever order a client writes them.
pub(crate) fn digest(path: &str, parameters: &Map<String, Value>) -> ListDigest {
    let filters = parameters
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "limit" | "cursor"));
    let named = serde_json::json!([path, filters.collect::<Vec<_>>()]);
    short(Sha256::new().chain_update(named.to_string()))
}

fn short(hash: Sha256) -> ListDigest {
    let mut digest = ListDigest::default();
    // A digest is longer than what is kept of it.
    digest.copy_from_slice(&hash.finalize()[..DIGEST_BYTES]);
    digest
}

/// The page size to use; a fault outside 1 to 500.
pub(crate) fn checked(asked: Option<u64>, at: &mut At<'_>) -> Option<Option<u32>> {
    match asked.map(u32::try_from) {
        None => Some(None),
        Some(Ok(limit @ 1..=LIMIT_MAX)) => Some(Some(limit)),
        Some(_) => at
            .field("limit")
            .mistyped(&format!("a whole number from 1 to {LIMIT_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(path: &str, filters: Value) -> Paging {
        let filters = filters.as_object().cloned().unwrap_or_default();
        Paging::new(Some(2), None, digest(path, &filters))
    }

    fn at(paging: &Paging, cursor: &str) -> Paging {
        Paging {
            cursor: Some(cursor.to_owned()),
            ..paging.clone()
        }
    }

    #[test]
    fn a_cursor_opens_only_in_the_list_and_with_the_filters_it_was_given_for() {
        let hosts = list("/hosts", json!({"tag": "web", "limit": "2"}));
        let cursor = hosts.seal(&(7_i64, "x"));
        let opened: Option<(i64, String)> = at(&hosts, &cursor).after().expect("ours");
        assert_eq!(opened, Some((7, "x".to_owned())));
        let same = list("/hosts", json!({"limit": "9", "cursor": "c", "tag": "web"}));
        assert!(at(&same, &cursor).after::<(i64, String)>().is_ok());
        for other in [
            list("/hosts", json!({})),
            list("/hosts", json!({"tag": "db"})),
            list("/hosts", json!({"tag": "web", "q": "x"})),
            list("/audit", json!({"tag": "web"})),
        ] {
            let problem = at(&other, &cursor)
                .after::<(i64, String)>()
                .expect_err("another list");
            assert_eq!(
                (problem.status().as_u16(), problem.code()),
                (400, "malformed")
            );
        }
        assert!(
            at(&hosts, &cursor).after::<String>().is_err(),
            "another shape"
        );
    }

    #[test]
    fn any_changed_byte_makes_a_cursor_malformed() {
        let paging = list("/hosts", json!({}));
        let cursor = paging.seal(&7_i64);
        for index in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).expect("ascii");
            let opened = at(&paging, &forged).after::<i64>();
            // The last character may carry bits that base64 ignores or refuses; neither opens as another value.
            assert!(opened.is_err() || opened.ok() == Some(Some(7)), "{index}");
        }
        for forged in ["", "x", "MTIz", &"A".repeat(10_000)] {
            let problem = at(&paging, forged).after::<i64>().expect_err("forged");
            assert_eq!(problem.code(), "malformed");
        }
    }

    #[test]
    fn a_page_has_a_cursor_only_when_there_is_more() {
        let paging = list("/l", json!({}));
        let page = |rows| paging.page(rows, |row: &i64| *row, |row| row);
        assert_eq!(page(vec![1, 2]).next_cursor, None);
        let more = page(vec![1, 2, 3]);
        assert_eq!(more.items, [1, 2]);
        let next = more.next_cursor.expect("more");
        assert_eq!(at(&paging, &next).after::<i64>().expect("ours"), Some(2));
    }
}
