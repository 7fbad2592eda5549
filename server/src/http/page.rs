//! Pages of lists. A cursor is where the next page starts, sealed so that a client can only give back what it
//! was given, and only to the list that gave it.

use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::Problem;

/// Entries of a page when the client does not say, and at most; both are promised by the API.
pub const LIMIT_DEFAULT: u32 = 50;
pub const LIMIT_MAX: u32 = 500;
/// Bytes of the seal: half of SHA-256, ample against forging what is only a position.
const SEAL_BYTES: usize = 16;
/// Longest cursor looked at; ours are a fraction of it.
const CURSOR_CHARS_MAX: usize = 2_048;

/// A page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Seals and opens cursors. Cheap to clone.
#[derive(Clone)]
pub struct Cursors {
    key: hmac::Key,
}

impl Cursors {
    /// `secret` outlives the process, so that a cursor survives a restart.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// Reads the secret from `path`, making it on the first start.
    pub fn from_file(path: &Path) -> std::io::Result<Self> {
        crate::auth::secret_file::read_or_create(path, crate::auth::secret_file::random_secret)
            .map(|secret| Self::new(&secret))
    }

    /// `list` names the list and everything that shapes it (filters): the cursor is good for that one only.
    pub fn seal(&self, list: &str, position: &impl Serialize) -> String {
        // A position is made of ids, numbers and text, all of which JSON can say.
        let text = serde_json::to_vec(position).unwrap_or_default();
        let mut bytes = self.tag(list, &text);
        bytes.extend_from_slice(&text);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// 400 for a cursor that was not sealed here for this list.
    pub fn open<T: DeserializeOwned>(&self, list: &str, cursor: &str) -> Result<T, Problem> {
        let refused = || Problem::malformed("The cursor is not one that this list gave out.");
        if cursor.len() > CURSOR_CHARS_MAX {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let (seal, text) = bytes.split_at_checked(SEAL_BYTES).ok_or_else(refused)?;
        let same: bool =
            subtle::ConstantTimeEq::ct_eq(seal, self.tag(list, text).as_slice()).into();
        if !same {
            return Err(refused());
        }
        serde_json::from_slice(text).map_err(|_| refused())
    }

    /// Like [`Cursors::open`] for a query's optional cursor.
    pub fn position<T: DeserializeOwned>(
        &self,
        list: &str,
        cursor: Option<&str>,
    ) -> Result<Option<T>, Problem> {
        cursor.map(|cursor| self.open(list, cursor)).transpose()
    }

    /// Cuts a page out of `rows`, which were read with a limit of `limit + 1`: the extra row says that there is
    /// more. `position` is where the page after a given row starts.
    pub fn page<Row, T, P: Serialize>(
        &self,
        list: &str,
        limit: u32,
        mut rows: Vec<Row>,
        position: impl FnOnce(&Row) -> P,
        view: impl FnMut(Row) -> T,
    ) -> Page<T> {
        let limit = limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| has_more)
            .map(|last| self.seal(list, &position(last)));
        Page {
            items: rows.into_iter().map(view).collect(),
            next_cursor,
        }
    }

    fn tag(&self, list: &str, text: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(list.len() as u64).to_be_bytes());
        context.update(list.as_bytes());
        context.update(text);
        let mut tag = context.sign().as_ref().to_vec();
        tag.truncate(SEAL_BYTES);
        tag
    }
}

/// The page size to use; 422 outside 1 to 500.
pub fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => Err(Problem::invalid_field(
            "/limit",
            "invalid-field",
            format!("`limit` must be between 1 and {LIMIT_MAX}."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_where_it_was_sealed() {
        let cursors = Cursors::new(b"secret");
        let cursor = cursors.seal("hosts", &(7_i64, "x"));
        let opened: (i64, String) = cursors.open("hosts", &cursor).expect("ours");
        assert_eq!(opened, (7, "x".to_owned()));
        assert!(cursors.open::<(i64, String)>("audit", &cursor).is_err());
        assert!(
            Cursors::new(b"other")
                .open::<(i64, String)>("hosts", &cursor)
                .is_err()
        );
    }

    #[test]
    fn any_changed_byte_makes_a_cursor_malformed() {
        let cursors = Cursors::new(b"secret");
        let cursor = cursors.seal("hosts", &7_i64);
        for index in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(bytes).expect("ascii");
            let problem = cursors.open::<i64>("hosts", &forged);
            // The last character may carry bits that base64 ignores or refuses; neither opens as another value.
            assert!(problem.is_err() || problem.ok() == Some(7), "{index}");
        }
        for forged in ["", "x", "MTIz", &"A".repeat(10_000)] {
            let problem = cursors.open::<i64>("hosts", forged).expect_err("forged");
            assert_eq!(problem.code(), "malformed");
        }
    }

    #[test]
    fn a_page_has_a_cursor_only_when_there_is_more() {
        let cursors = Cursors::new(b"secret");
        let page = |rows| cursors.page("l", 2, rows, |row: &i64| *row, |row| row);
        assert_eq!(page(vec![1, 2]).next_cursor, None);
        let more = page(vec![1, 2, 3]);
        assert_eq!(more.items, [1, 2]);
        let next = more.next_cursor.expect("more");
        assert_eq!(cursors.open::<i64>("l", &next).expect("ours"), 2);
    }

    #[test]
    fn limits_are_one_to_500() {
        assert_eq!(limit(None).expect("default"), 50);
        assert_eq!(limit(Some(500)).expect("max"), 500);
        for refused in [0, 501, u32::MAX] {
            assert_eq!(limit(Some(refused)).expect_err("refused").status(), 422);
        }
    }
}
