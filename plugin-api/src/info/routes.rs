//! What a module declares of one route: whom it serves, what it needs of a licence, how much it reads. The server judges
//! every request by this before the module sees it.

use serde::{Deserialize, Serialize};

/// The HTTP API's limit for most bodies.
const BODY_BYTES_DEFAULT: u32 = 1024 * 1024;
/// Its limit for bodies with a selector or host ids: 100,000 ids as text are under 4 MiB.
pub const BODY_BYTES_BOUND: u32 = 8 * 1024 * 1024;
/// Longer than any path people would type.
const PATH_BYTES_MAX: usize = 200;

/// One route, relative to `/api/v1`, with `{parameter}` segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteDeclaration {
    /// Upper case.
    pub method: String,
    /// Under `/fleet/`, as in `/fleet/groups/{id}`; at most 200 bytes.
    pub path: String,
    /// Of the module's features, the one it needs.
    pub feature: String,
    /// Who may use it.
    pub role: Role,
    /// What it does under a lapsed licence.
    pub kind: RouteKind,
    /// It sets something to work on hosts (creates, retries, resumes, approves an operation, or saves what will launch one): a
    /// token with scopes needs `operations` for it, beside the scope of its path.
    #[serde(default)]
    pub runs: bool,
    /// The module's methods that do what this route does: whoever has them called in process must be allowed the route. A
    /// method that no route names serves whoever may call its caller.
    #[serde(default)]
    pub calls: Vec<String>,
    /// 1 MiB unless declared, 8 MiB at most. A longer body is answered 413 and never reaches the module.
    #[serde(default = "body_bytes_default")]
    pub body_bytes_max: u32,
    /// The module keeps tenants apart here, so that a token of a tenant may use the route.
    #[serde(default)]
    pub tenants: bool,
    /// A few words for the OpenAPI document of a server without the module.
    #[serde(default)]
    pub summary: String,
}

/// The least role that may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything and changes nothing.
    Viewer,
    /// Runs operations and changes what they run on.
    Operator,
    /// Decides who may do what.
    Admin,
}

impl Role {
    /// The word in declarations, tokens and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// What a route does to work under a lapsed licence: only `new` is refused then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// Stores nothing: look up, list, preview.
    Read,
    /// Pause, resume, approve, cancel, confirm, claim, spend: what is under way goes on.
    Continue,
    /// Create, retry, run now, edit.
    New,
}

impl RouteDeclaration {
    /// The path with its parameters' names left out: two routes of one shape collide.
    pub fn shape(&self) -> String {
        let segments = self.path.split('/').map(|segment| {
            if segment.starts_with('{') {
                "{}"
            } else {
                segment
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// What is wrong with it by itself.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if !matches!(
            self.method.as_str(),
            "GET" | "POST" | "PUT" | "PATCH" | "DELETE"
        ) {
            return Some("the method must be GET, POST, PUT, PATCH or DELETE");
        }
        if !is_route_path(&self.path) {
            return Some("the path must be /fleet/ and plain or {parameter} segments");
        }
        if self.kind == RouteKind::Read
            && (self.runs || !matches!(self.method.as_str(), "GET" | "POST"))
        {
            return Some("what stores nothing runs nothing, and is a GET or a POST");
        }
        if !(1..=BODY_BYTES_BOUND).contains(&self.body_bytes_max) {
            return Some("its bodies must be limited to 1 byte at least and 8 MiB at most");
        }
        None
    }
}

fn body_bytes_default() -> u32 {
    BODY_BYTES_DEFAULT
}

fn is_route_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/fleet/") else {
        return false;
    };
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    path.len() <= PATH_BYTES_MAX
        && rest
            .split('/')
            .all(|segment| match segment.strip_prefix('{') {
                Some(inner) => inner.strip_suffix('}').is_some_and(word),
                None => word(segment),
            })
}
