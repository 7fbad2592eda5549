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
/// Bytes of the items of a page, as they are written, unless the first alone is larger: what a client asks for in one answer
/// and a server holds for it at a time.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
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
        // PostgreSQL takes no NUL in a text, and nothing that is listed has one.
        let position: Value = serde_json::from_slice(&opened).map_err(|_| refused())?;
        if names_nul(&position) {
            return Err(refused());
        }
        serde_json::from_slice(&opened)
            .map(Some)
            .map_err(|_| refused())
    }

    /// Cuts a page out of `rows`, which were read with a limit of one more: the extra row says that there is more.
    /// `position` is where the page after a given row starts.
    pub fn page<Row, T: Serialize, P: Serialize>(
        &self,
        mut rows: Vec<Row>,
        position: impl Fn(&Row) -> P,
        view: impl FnMut(Row) -> T,
    ) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(&position);
        self.page_until(rows, next, position, view)
    }

    /// A page of all of `rows`; `next` is where the next one starts, if there is one. It ends before a row that would make
    /// it too large, so the next one starts there.
    pub fn page_until<Row, T: Serialize, P: Serialize>(
        &self,
        rows: impl IntoIterator<Item = Row>,
        next: Option<P>,
        position: impl Fn(&Row) -> P,
        mut view: impl FnMut(Row) -> T,
    ) -> Page<T> {
        let (mut items, mut bytes) = (Vec::new(), 0_usize);
        let mut before = None;
        for row in rows {
            let after = position(&row);
            let item = view(row);
            bytes = bytes.saturating_add(written_bytes(&item));
            if bytes > PAGE_BYTES_MAX && !items.is_empty() {
                let next_cursor = before.map(|position| self.seal(&position));
                return Page { items, next_cursor };
            }
            items.push(item);
            before = Some(after);
        }
        Page {
            items,
            next_cursor: next.map(|position| self.seal(&position)),
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

/// Whether a text anywhere in this has a NUL character.
fn names_nul(position: &Value) -> bool {
    match position {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(names_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || names_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// How many bytes this is as JSON.
fn written_bytes(item: &impl Serialize) -> usize {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    // What cannot be written is told where the page is.
    let _ = serde_json::to_writer(&mut count, item);
    count.0
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
    fn a_position_with_a_nul_is_malformed_and_what_only_looks_like_one_is_not() {
        let hosts = list("/hosts", json!({}));
        let opened = |text: &str| {
            let cursor = hosts.seal(&(text, 7_i64));
            at(&hosts, &cursor).after::<(String, i64)>()
        };
        let problem = opened("a\0b").expect_err("no text of ours");
        assert_eq!(
            (problem.status().as_u16(), problem.code()),
            (400, "malformed")
        );
        // A host may be called that.
        let name = "a\\u0000b";
        assert_eq!(opened(name).expect("ours"), Some((name.to_owned(), 7)));
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

    #[test]
    fn a_page_ends_before_it_is_too_large_and_the_next_goes_on_there() {
        let filters = Map::new();
        let all = |sizes: &[usize]| {
            let paging = Paging::new(Some(500), None, digest("/l", &filters));
            let (mut after, mut pages) = (0, Vec::new());
            loop {
                let rows: Vec<(usize, usize)> =
                    sizes.iter().copied().enumerate().skip(after).collect();
                let page = paging.page(rows, |row| row.0 + 1, |row| "x".repeat(row.1));
                pages.push(page.items.iter().map(String::len).collect::<Vec<_>>());
                let Some(cursor) = page.next_cursor else {
                    return pages;
                };
                after = at(&paging, &cursor).after().expect("ours").expect("given");
            }
        };
        let half = PAGE_BYTES_MAX / 2;
        assert_eq!(all(&[1, 2, 3]), [[1, 2, 3]]);
        assert_eq!(all(&[half, half, 1]), [vec![half], vec![half, 1]]);
        // One that is too large alone is a page, and the last of them ends the list.
        let large = PAGE_BYTES_MAX * 2;
        assert_eq!(all(&[large, large]), [[large], [large]]);
        assert_eq!(all(&[1, large, 1]), [[1], [large], [1]]);
        assert_eq!(all(&[]), [Vec::<usize>::new()]);
    }
}
