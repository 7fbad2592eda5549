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

use super::decide::{self, Entitlement, Licensed, NotInForce};
use super::memory::Memory;
use super::{LICENSE_SIGNAL, Licensing, LicensingParts, LicensingState, TrustedKeys, store};
use crate::audit::{self, AuditContext};
use crate::db::{Db, DbError};
use crate::loops::{Loop, Loops};

/// How much the clock may advance before its floor is stored again: turning it back gains less than this.
const FLOOR_STEP_US: i64 = 60 * 1_000_000;

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
    let parts = &licensing.inner.parts;
    let mut memory = licensing.inner.looking.lock().await;
    let stored = store::license(&parts.db).await?;
    let file = match &parts.license_file {
        Some(path) => read_file(path).await,
        None => None,
    };
    let now_s = memory.reach(&parts.clock).div_euclid(1_000_000);
    let (license, problem) = choose(
        &parts.trusted,
        [file, stored.map(Ok)].into_iter().flatten().collect(),
        now_s,
        licensing.installation_id(),
    );
    remember_time(&parts.db, &mut memory).await?;
    if let Some(license) = &license {
        remember_features(&parts.db, &mut memory, &license.claims).await?;
    }
    let entitlement = Entitlement {
        license,
        problem,
        once_licensed: memory.once_licensed.clone(),
        hosts: parts.registry.approved_count() as u64,
    };
    swap_in(licensing, entitlement);
    Ok(())
}

/// Stores a licence for good, with its audit row. It takes effect before this answers.
pub async fn install(
    licensing: &Licensing,
    context: AuditContext,
    text: String,
) -> Result<(), InstallError> {
    let parts = &licensing.inner.parts;
    let (claims, _) = license::verify(&parts.trusted.keys, parts.trusted.allow_development, &text)?;
    let now_us = parts.clock.now_us();
    let floor_us = licensing.inner.looking.lock().await.reach(&parts.clock);
    let phase = decide::phase(
        &claims,
        floor_us.div_euclid(1_000_000),
        licensing.installation_id(),
    )?;
    if phase == decide::Phase::Expired {
        return Err(InstallError::Expired);
    }
    let entry = audit_entry(&claims, &text);
    parts
        .db
        .write(move |tx| {
            store::put_license(tx, text.trim())?;
            audit::append(tx, now_us, &context, &entry)
        })
        .await?;
    look(licensing).await?;
    Ok(())
}

fn audit_entry(claims: &Claims, text: &str) -> AuditEntry {
    let detail = json!({
        "sha256": hex::encode(Sha256::digest(text.trim().as_bytes())),
        "features": claims.features,
        "expires_at_s": claims.exp,
    });
    audit::entry("license.install", "license", &claims.sub, detail)
}

/// Of the licences offered, the best one; else why none is in force.
fn choose(
    trusted: &TrustedKeys,
    offered: Vec<Result<String, String>>,
    now_s: i64,
    installation: &str,
) -> (Option<Licensed>, Option<String>) {
    let mut best: Option<Licensed> = None;
    let mut problem = None;
    for text in offered {
        match text.and_then(|text| read(trusted, &text, now_s, installation)) {
            Ok(license) if best.as_ref().is_none_or(|best| license.outranks(best)) => {
                best = Some(license);
            }
            Ok(_) => {}
            Err(reason) => problem = problem.or(Some(reason)),
        }
    }
    (best, problem)
}

fn read(
    trusted: &TrustedKeys,
    text: &str,
    now_s: i64,
    installation: &str,
) -> Result<Licensed, String> {
    let (claims, id): (Claims, KeyId) =
        license::verify(&trusted.keys, trusted.allow_development, text)
            .map_err(|error| error.to_string())?;
    let phase =
        decide::phase(&claims, now_s, installation).map_err(|refusal| refusal.to_string())?;
    Ok(Licensed {
        claims,
        key_id: id.to_string(),
        development: id.is_development(),
        phase,
    })
}

/// The file's text; `None` where there is no file, which is no problem: it may be dropped later.
async fn read_file(path: &Path) -> Option<Result<String, String>> {
    let unreadable =
        |error: std::io::Error| Some(Err(format!("the licence file cannot be read: {error}")));
    match tokio::fs::metadata(path).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return unreadable(error),
        Ok(metadata) if !metadata.is_file() || metadata.len() > license::TEXT_BYTES_MAX as u64 => {
            return Some(Err("the licence file is not a licence".to_owned()));
        }
        Ok(_) => {}
    }
    match tokio::fs::read(path).await {
        Ok(bytes) => {
            Some(String::from_utf8(bytes).map_err(|_| "the licence is not readable".to_owned()))
        }
        Err(error) => unreadable(error),
    }
}

/// Without a licence too: one that comes later must not find the clock turned back.
async fn remember_time(db: &Db, memory: &mut Memory) -> Result<(), DbError> {
    if memory.floor_us >= memory.stored_floor_us + FLOOR_STEP_US {
        store::raise_floor(db, memory.floor_us).await?;
        memory.stored_floor_us = memory.floor_us;
    }
    Ok(())
}

async fn remember_features(db: &Db, memory: &mut Memory, claims: &Claims) -> Result<(), DbError> {
    let granted: BTreeSet<String> = decide::known_features(claims).map(str::to_owned).collect();
    if !granted.is_subset(&memory.once_licensed) {
        let all: BTreeSet<String> = memory.once_licensed.union(&granted).cloned().collect();
        store::put_once_licensed(db, &all).await?;
        memory.once_licensed = all;
    }
    Ok(())
}

fn swap_in(licensing: &Licensing, entitlement: Entitlement) {
    let before = licensing.inner.current.load();
    if **before == entitlement {
        return;
    }
    let told = before.license != entitlement.license || before.problem != entitlement.problem;
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
    match &entitlement.license {
        None => "none, community edition".to_owned(),
        Some(license) => {
            let features: Vec<&str> = decide::known_features(&license.claims).collect();
            format!(
                "{} for {} ({})",
                license.phase.as_str(),
                license.claims.sub,
                features.join(", ")
            )
        }
    }
}
