//! Looks at the licence: reads it from the file and from the database, decides what it means now, and remembers the
//! clock's floor and the features granted. The result is swapped in for requests to read.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetwright_plugin_api::wire::AuditEntry;
use fleetwright_signing::{Claims, KeyId, LicenseError, license};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::decide::{self, Entitlement, Granted, Licensed, NoProof, NotInForce};
use super::memory::Memory;
use super::{LICENSE_SIGNAL, Licensing, LicensingParts, LicensingState, TrustedKeys, store};
use crate::audit::{self, AuditContext};
use crate::db::{Db, DbError, Tx};
use crate::loops::{Loop, Loops};

/// How much the clock may advance before its floor is stored again: turning it back gains less than this.
const FLOOR_STEP_US: i64 = 60 * 1_000_000;
/// Vendors whose licences stand in one file.
const LICENSES_PER_FILE_MAX: usize = 16;

/// Why an offered licence is not taken.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    License(#[from] LicenseError),
    #[error(transparent)]
    NotInForce(#[from] NotInForce),
    #[error("the licence has expired")]
    Expired,
    #[error(transparent)]
    NoProof(#[from] NoProof),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Licensing {
    /// Reads the licence and decides for the first time. Starts nothing; see [`Licensing::run`].
    pub async fn load(parts: LicensingParts) -> Result<Self, DbError> {
        let installation_id = store::installation_id(&parts.db, parts.clock.new_id()).await?;
        let memory = Memory::load(&parts.db, &parts.clock).await?;
        let inner = LicensingState {
            parts,
            installation_id,
            current: ArcSwap::from_pointee(Entitlement::default()),
            looking: tokio::sync::Mutex::new(memory),
        };
        let licensing = Self {
            inner: Arc::new(inner),
        };
        licensing.look().await?;
        Ok(licensing)
    }

    /// Looks at the file, the stored licence and the clock again and again until shutdown.
    pub async fn run(self, loops: Loops, shutdown: CancellationToken) {
        let looking = loops.take(Loop::Licence).every(|| async {
            if let Err(error) = self.look().await {
                // The last decision stands; the clock goes on counting at the next look.
                tracing::warn!(%error, "the licence cannot be looked at");
            }
        });
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = looking => {}
        }
    }

    /// Decides again now.
    pub async fn look(&self) -> Result<(), DbError> {
        look(self).await
    }
}

/// Reads, decides, remembers, swaps in.
async fn look(licensing: &Licensing) -> Result<(), DbError> {
    let mut memory = licensing.inner.looking.lock().await;
    look_with(licensing, &mut memory).await
}

async fn look_with(licensing: &Licensing, memory: &mut Memory) -> Result<(), DbError> {
    let parts = &licensing.inner.parts;
    let stored = store::licenses(&parts.db).await?;
    let mut offered = match &parts.license_file {
        Some(path) => read_file(path).await,
        None => Vec::new(),
    };
    offered.extend(stored.into_iter().map(|(_, text)| Ok(text)));
    memory.reach(&parts.clock);
    let (licenses, problem) = choose(&parts.trusted, offered, memory, licensing.installation_id());
    remember_time(&parts.db, memory).await?;
    remember_grants(&parts.db, memory, &licenses).await?;
    let once_licensed = memory.once_licensed.iter();
    let entitlement = Entitlement {
        licenses,
        problem,
        once_licensed: once_licensed
            .map(|text| granted(&parts.trusted, text))
            .collect(),
        hosts: parts.registry.approved_count() as u64,
    };
    swap_in(licensing, entitlement);
    Ok(())
}

fn granted(trusted: &TrustedKeys, text: &str) -> Granted {
    match text.split_once(' ') {
        Some((key_id, feature)) => Granted {
            signer: Some(trusted.signer(key_id)),
            feature: feature.to_owned(),
        },
        None => Granted {
            signer: None,
            feature: text.to_owned(),
        },
    }
}

/// Stores a licence for good, with its audit row, in place of the one its key had. It takes effect before this answers.
pub async fn install(
    licensing: &Licensing,
    context: AuditContext,
    text: String,
) -> Result<(), InstallError> {
    let parts = &licensing.inner.parts;
    let (claims, id) =
        license::verify(&parts.trusted.keys, parts.trusted.allow_development, &text)?;
    let now_us = parts.clock.now_us();
    let mut memory = licensing.inner.looking.lock().await;
    memory.reach(&parts.clock);
    let key_id = id.to_string();
    let phase = decide::phase(
        &claims,
        memory.floor_of_us(&key_id).div_euclid(1_000_000),
        licensing.installation_id(),
    )?;
    if phase == decide::Phase::Expired {
        return Err(InstallError::Expired);
    }
    let change = Change {
        replaces_old: replaces_old(parts, &id).await?,
        entry: audit_entry("license.install", &claims, &id, &text),
        text: text.trim().to_owned(),
        newest_issue_s: memory
            .newest_issue_s(&parts.trusted, &key_id)
            .max(claims.iat),
        key_id: key_id.clone(),
    };
    memory.newest_issues_s.insert(key_id, change.newest_issue_s);
    let written = parts.db.write(move |tx| change.store(tx, now_us, &context));
    written.await?;
    look_with(licensing, &mut memory).await?;
    Ok(())
}

/// A licence that is to be stored.
struct Change {
    text: String,
    key_id: String,
    /// The one that an older release stored without its key is this key's.
    replaces_old: bool,
    newest_issue_s: i64,
    entry: AuditEntry,
}

impl Change {
    fn store(self, tx: &mut Tx<'_>, now_us: i64, context: &AuditContext) -> Result<(), DbError> {
        if self.replaces_old {
            store::remove_license(tx, None)?;
        }
        store::put_license(tx, &self.key_id, &self.text)?;
        store::put_newest_issue(tx, &self.key_id, self.newest_issue_s)?;
        audit::append(tx, now_us, context, &self.entry)
    }
}

async fn replaces_old(parts: &LicensingParts, id: &KeyId) -> Result<bool, DbError> {
    let stored = store::licenses(&parts.db).await?;
    let trusted = &parts.trusted;
    let is_same = |text: &str| {
        let verified = license::verify(&trusted.keys, trusted.allow_development, text);
        // One that does not verify any more grants nothing.
        verified.map_or(true, |(_, other)| other == *id)
    };
    Ok(stored
        .iter()
        .any(|(key_id, text)| key_id.is_none() && is_same(text)))
}

/// Forgets the stored licence of a key, with its audit row; `false` if none is stored. One from the file stays.
pub async fn remove(
    licensing: &Licensing,
    context: AuditContext,
    key_id: String,
) -> Result<bool, DbError> {
    let parts = &licensing.inner.parts;
    let now_us = parts.clock.now_us();
    let mut memory = licensing.inner.looking.lock().await;
    let mut is_old = false;
    for (stored_with, text) in store::licenses(&parts.db).await? {
        let verified = license::verify(&parts.trusted.keys, true, &text);
        let is_of_key = verified.is_ok_and(|(_, id)| id.to_string() == key_id);
        is_old |= stored_with.is_none() && is_of_key;
    }
    let entry = audit::entry("license.remove", "license", &key_id, json!({}));
    let removed = parts.db.write(move |tx| {
        let mut removed = store::remove_license(tx, Some(&key_id))?;
        if is_old {
            removed |= store::remove_license(tx, None)?;
        }
        if removed {
            audit::append(tx, now_us, &context, &entry)?;
        }
        Ok::<_, DbError>(removed)
    });
    let removed = removed.await?;
    look_with(licensing, &mut memory).await?;
    Ok(removed)
}

/// Stores a licence that proves that the clock was once ahead, and lets time count from the clock's again for licences of its
/// key: what anybody else has licensed is none of its signer's business.
pub async fn reset_floor(
    licensing: &Licensing,
    context: AuditContext,
    text: String,
) -> Result<(), InstallError> {
    let parts = &licensing.inner.parts;
    let (claims, id) =
        license::verify(&parts.trusted.keys, parts.trusted.allow_development, &text)?;
    let now_us = parts.clock.now_us();
    let now_s = now_us.div_euclid(1_000_000);
    let mut memory = licensing.inner.looking.lock().await;
    memory.reach(&parts.clock);
    let key_id = id.to_string();
    let floor_us = memory.floor_of_us(&key_id);
    let newest_issue_s = memory.newest_issue_s(&parts.trusted, &key_id);
    decide::phase(&claims, now_s, licensing.installation_id())?;
    decide::vouches_for(&claims, now_s, newest_issue_s)?;
    let mut entry = audit_entry("license.floor_reset", &claims, &id, &text);
    if let Some(detail) = entry.detail.as_object_mut() {
        detail.insert("from_s".to_owned(), json!(floor_us.div_euclid(1_000_000)));
        detail.insert("to_s".to_owned(), json!(now_s));
    }
    let change = Change {
        replaces_old: replaces_old(parts, &id).await?,
        entry,
        text: text.trim().to_owned(),
        key_id: key_id.clone(),
        newest_issue_s: claims.iat,
    };
    let written = parts.db.write(move |tx| {
        store::reset_floor(tx, &change.key_id, now_us)?;
        change.store(tx, now_us, &context)
    });
    written.await?;
    memory.reset(&key_id, now_us);
    memory.newest_issues_s.insert(key_id, claims.iat);
    look_with(licensing, &mut memory).await?;
    Ok(())
}

fn audit_entry(action: &str, claims: &Claims, id: &KeyId, text: &str) -> AuditEntry {
    let detail = json!({
        "sha256": hex::encode(Sha256::digest(text.trim().as_bytes())),
        "key_id": id.to_string(),
        "features": claims.features,
        "expires_at_s": claims.exp,
    });
    audit::entry(action, "license", &claims.sub, detail)
}

/// Of the licences offered, the best of each signer; and why one is not in force, if one is not.
fn choose(
    trusted: &TrustedKeys,
    offered: Vec<Result<String, String>>,
    memory: &Memory,
    installation: &str,
) -> (Vec<Licensed>, Option<String>) {
    let mut licenses = Vec::new();
    let mut problem = None;
    for text in offered {
        match text.and_then(|text| read(trusted, &text, memory, installation)) {
            Ok(license) => licenses.push(license),
            Err(reason) => problem = problem.or(Some(reason)),
        }
    }
    (decide::best_of_each_signer(licenses), problem)
}

fn read(
    trusted: &TrustedKeys,
    text: &str,
    memory: &Memory,
    installation: &str,
) -> Result<Licensed, String> {
    let (claims, id): (Claims, KeyId) =
        license::verify(&trusted.keys, trusted.allow_development, text)
            .map_err(|error| error.to_string())?;
    let now_s = memory.floor_of_us(&id.to_string()).div_euclid(1_000_000);
    let phase =
        decide::phase(&claims, now_s, installation).map_err(|refusal| refusal.to_string())?;
    Ok(Licensed {
        claims,
        signer: trusted.signer(&id.to_string()),
        key_id: id.to_string(),
        development: id.is_development(),
        phase,
    })
}

/// The file's licences, one after the other with blanks between them; none where there is no file, which is no problem: it
/// may be dropped later.
async fn read_file(path: &Path) -> Vec<Result<String, String>> {
    let unreadable =
        |error: std::io::Error| vec![Err(format!("the licence file cannot be read: {error}"))];
    let bytes_max = (license::TEXT_BYTES_MAX * LICENSES_PER_FILE_MAX) as u64;
    match tokio::fs::metadata(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return unreadable(error),
        Ok(metadata) if !metadata.is_file() || metadata.len() > bytes_max => {
            return vec![Err("the licence file is not a licence".to_owned())];
        }
        Ok(_) => {}
    }
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) => return unreadable(error),
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return vec![Err("the licence is not readable".to_owned())];
    };
    let licenses: Vec<_> = text
        .split_whitespace()
        .take(LICENSES_PER_FILE_MAX)
        .map(|text| Ok(text.to_owned()))
        .collect();
    if licenses.is_empty() {
        // What an empty file says is that a licence is missing there.
        return vec![Ok(String::new())];
    }
    licenses
}

/// Without a licence too: one that comes later must not find the clock turned back.
async fn remember_time(db: &Db, memory: &mut Memory) -> Result<(), DbError> {
    if memory.floor_us >= memory.stored_floor_us + FLOOR_STEP_US {
        store::raise_floor(db, None, memory.floor_us).await?;
        memory.stored_floor_us = memory.floor_us;
    }
    for (key_id, (floor_us, stored_us)) in &mut memory.own_floors_us {
        if *floor_us >= *stored_us + FLOOR_STEP_US {
            store::raise_floor(db, Some(key_id), *floor_us).await?;
            *stored_us = *floor_us;
        }
    }
    Ok(())
}

async fn remember_grants(
    db: &Db,
    memory: &mut Memory,
    licenses: &[Licensed],
) -> Result<(), DbError> {
    let mut granted = BTreeSet::new();
    for license in licenses {
        let features = decide::known_features(&license.claims);
        granted.extend(features.map(|feature| format!("{} {feature}", license.key_id)));
    }
    if !granted.is_subset(&memory.once_licensed) {
        let all: BTreeSet<String> = memory.once_licensed.union(&granted).cloned().collect();
        store::put_once_licensed(db, &all).await?;
        memory.once_licensed = all;
    }
    for license in licenses {
        let (key_id, newest_s) = (license.key_id.clone(), license.claims.iat);
        let known_s = memory.newest_issues_s.get(&key_id);
        if known_s.is_none_or(|known_s| newest_s > *known_s) {
            let stored = key_id.clone();
            db.write(move |tx| store::put_newest_issue(tx, &stored, newest_s))
                .await?;
            memory.newest_issues_s.insert(key_id, newest_s);
        }
    }
    Ok(())
}

fn swap_in(licensing: &Licensing, entitlement: Entitlement) {
    let before = licensing.inner.current.load();
    if **before == entitlement {
        return;
    }
    let told = before.licenses != entitlement.licenses || before.problem != entitlement.problem;
    let over = before.is_over_host_limit() != entitlement.is_over_host_limit();
    let describe = describe(&entitlement);
    let problem = entitlement.problem.clone();
    licensing.inner.current.store(Arc::new(entitlement));
    if told {
        match problem {
            None => tracing::info!("licence: {describe}"),
            Some(problem) => tracing::warn!("licence: {describe}; {problem}"),
        }
    }
    if told || over {
        licensing.inner.parts.signals.publish(LICENSE_SIGNAL);
    }
}

fn describe(entitlement: &Entitlement) -> String {
    if entitlement.licenses.is_empty() {
        return "none, community edition".to_owned();
    }
    let each = entitlement.licenses.iter().map(|license| {
        let features: Vec<&str> = decide::known_features(&license.claims).collect();
        format!(
            "{} for {} of {} ({})",
            license.phase.as_str(),
            license.claims.sub,
            license.signer,
            features.join(", ")
        )
    });
    each.collect::<Vec<_>>().join("; ")
}
