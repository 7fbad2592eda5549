//! The API's description, made once for the routes there are: anybody may ask for it, and making it costs more than sending
//! it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use serde_json::Value;

use super::docs;
use crate::modules::Modules;
use crate::modules::openapi::RoutesVersion;

/// The description as it was last made. Cheap to clone.
#[derive(Clone, Default)]
pub struct Described {
    kept: Arc<Mutex<Option<Kept>>>,
}

struct Kept {
    of: RoutesVersion,
    texts: Texts,
}

/// The document, and the page for people.
#[derive(Clone)]
pub struct Texts {
    pub document: Bytes,
    pub page: Bytes,
}

impl Described {
    /// As of now; `make` is called when the routes have changed. One at a time: who waits finds it made.
    pub fn texts(&self, modules: &Modules, make: impl FnOnce() -> Value) -> Texts {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is made: if the routes change meanwhile, it is made again.
        let now = modules.routes_version();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.of == now) {
            return kept.texts.clone();
        }
        let document = make();
        let texts = Texts {
            document: document.to_string().into(),
            page: docs::render(&document).into(),
        };
        *kept = Some(Kept {
            of: now,
            texts: texts.clone(),
        });
        texts
    }
}
