//! Secrets: values that operations refer to by name. They are stored sealed, several versions of each, and leave the server in
//! the frame of a command only. Nothing here shows one to a person.
//!
//! `seal` is the cryptography, `store` the SQL, `actions` what administrators do, `admission` who may launch what with
//! which, `resolve` what a command is sent with.

pub mod actions;
pub mod admission;
mod decide;
pub mod http;
pub mod resolve;
pub mod seal;
pub mod store;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fleetwright_protocol::HostId;
use futures_util::future::BoxFuture;

use crate::auth::secret_file;
use crate::clock::SharedClock;
use crate::db::{Db, DbError};

use seal::{KEY_BYTES, SealKey};

/// The key's file in the data folder.
pub const KEY_FILE: &str = "secrets.key";

/// What secrets are made of.
pub struct SecretsParts {
    pub db: Db,
    pub clock: SharedClock,
    pub key: SealKey,
    /// Sealed values are of this installation only.
    pub installation: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Secrets {
    inner: Arc<SecretsState>,
}

struct SecretsState {
    parts: SecretsParts,
    groups: OnceLock<AskGroups>,
}

/// What is asked of groups, which are a module's.
#[derive(Clone, Debug)]
pub enum GroupsQuestion {
    /// The ids of these names or ids.
    Ids(Vec<String>),
    /// Which hosts are in any of these, by id.
    Hosts(Vec<String>),
}

/// The answer to a [`GroupsQuestion`].
#[derive(Clone, Debug)]
pub enum GroupsAnswer {
    Ids(Vec<String>),
    Hosts(BTreeSet<HostId>),
}

/// Asks whoever knows groups. The error is a sentence for a person.
pub type AskGroups =
    Arc<dyn Fn(GroupsQuestion) -> BoxFuture<'static, Result<GroupsAnswer, String>> + Send + Sync>;

impl Secrets {
    pub fn new(parts: SecretsParts) -> Self {
        Self {
            inner: Arc::new(SecretsState {
                parts,
                groups: OnceLock::new(),
            }),
        }
    }

    /// Who knows groups. Set once, when there are modules.
    pub fn set_groups(&self, ask: AskGroups) {
        let _ = self.inner.groups.set(ask);
    }

    /// Tells the log of secrets that this server's key does not open: another data folder, or one restored without its key.
    pub async fn look_at_keys(&self) -> Result<(), DbError> {
        let own = self.key().id();
        for key_id in store::key_ids(self.db()).await? {
            if key_id != own {
                tracing::error!(
                    sealed_with = key_id,
                    key = own,
                    "there are secrets that cannot be read: the key file is not the one they were sealed with; \
                     restore {KEY_FILE} from the backup of the data folder, or set them again"
                );
            }
        }
        Ok(())
    }

    fn db(&self) -> &Db {
        &self.inner.parts.db
    }

    fn key(&self) -> &SealKey {
        &self.inner.parts.key
    }

    fn installation(&self) -> &str {
        &self.inner.parts.installation
    }

    fn now_us(&self) -> i64 {
        self.inner.parts.clock.now_us()
    }

    async fn ask_groups(&self, question: GroupsQuestion) -> Result<GroupsAnswer, String> {
        match self.inner.groups.get() {
            Some(ask) => ask(question).await,
            None => Err("there is nobody who knows groups".to_owned()),
        }
    }
}

/// The key of this server, made on first start: a file in its data folder that only its owner may read.
pub fn key(data_dir: &Path) -> std::io::Result<SealKey> {
    let bytes = secret_file::read_or_create(&data_dir.join(KEY_FILE), secret_file::random_secret)?;
    let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| {
        std::io::Error::other(format!("{KEY_FILE} is not a key of {KEY_BYTES} bytes"))
    })?;
    SealKey::new(&bytes).ok_or_else(|| std::io::Error::other(format!("{KEY_FILE} is not a key")))
}
