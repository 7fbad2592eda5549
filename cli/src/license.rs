//! `fleetwright license`: the vendor's side (keys, issuing) works on files; the customer's side talks to the server.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fleetwright_signing::license::{self, Claims, ISSUER};
use serde_json::json;

use crate::failure::{Completion, Failure};
use crate::keys::{self, KeygenArgs};
use crate::session::Session;
use crate::{output, prompt};

#[derive(Subcommand)]
pub enum LicenseAction {
    /// What the server's licence grants, and until when
    Show,
    /// Give the server a licence
    Install { file: PathBuf },
    /// Take the licence of a key away again
    Remove {
        /// As `license show` says it
        key_id: String,
    },
    /// The latest time the server has seen, before which no licence counts
    #[command(subcommand)]
    Floor(FloorAction),
    #[command(flatten)]
    Vendor(VendorAction),
}

#[derive(Subcommand)]
pub enum FloorAction {
    /// Go back to the server's clock, which was once ahead: with a licence the vendor has just issued
    Reset { file: PathBuf },
}

/// Needs no server.
#[derive(Subcommand)]
pub enum VendorAction {
    /// Make a vendor key pair
    Keygen(KeygenArgs),
    /// Issue a licence
    Issue(IssueArgs),
    /// Check a licence file and show what it says
    Inspect {
        file: PathBuf,
        /// The vendor's public key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

#[derive(Args)]
pub struct IssueArgs {
    /// The vendor's secret key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[arg(long)]
    customer: String,
    /// A feature it grants
    #[arg(
        long = "feature",
        value_name = "CODE",
        required_unless_present = "all_features"
    )]
    features: Vec<String>,
    /// Every feature there is
    #[arg(long, conflicts_with = "features")]
    all_features: bool,
    /// How long it holds, from now
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// How long everything goes on after that
    #[arg(long, default_value_t = 14)]
    grace_days: u32,
    /// With more approved hosts, no new work starts
    #[arg(long, value_name = "N")]
    max_hosts: Option<u64>,
    /// Only for this installation
    #[arg(long, value_name = "ID")]
    installation: Option<String>,
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What `--all-features` stands for: the codes a licence can grant today.
const FEATURES: [&str; 7] = [
    "fleet_groups",
    "fleet_bulk_operations",
    "fleet_rolling_deployments",
    "fleet_scheduled_operations",
    "fleet_placement",
    "fleet_budgets",
    "fleet_config_deployment",
];
const SECONDS_PER_DAY: i64 = 86_400;
/// Clocks of vendor and customer differ; a licence holds from a little before it was issued.
const CLOCK_DIFFERENCE_SECONDS: i64 = 3_600;

pub fn vendor(action: VendorAction) -> Result<Completion, Failure> {
    match action {
        VendorAction::Keygen(args) => keys::keygen(&args),
        VendorAction::Issue(args) => issue(&args),
        VendorAction::Inspect { file, key } => {
            let trusted = [keys::read_public(&key)?];
            let (claims, id) = license::verify(&trusted, true, &keys::read_text(&file)?)
                .map_err(keys::named(&file))?;
            let shown = serde_json::to_value(&claims)
                .map_err(|error| Failure::Signing(error.to_string()))?;
            output::line(&format!("{shown:#}\nsigned with {id}"))?;
            Ok(Completion::Done)
        }
    }
}

pub fn show(session: &Session) -> Result<Completion, Failure> {
    output::item(session, &session.client.get("/license")?)?;
    Ok(Completion::Done)
}

pub fn install(session: &Session, file: &Path) -> Result<Completion, Failure> {
    let text = keys::read_text(file)?;
    prompt::confirm(
        session,
        &format!(
            "Give {} this licence, in place of the one of the same key?",
            session.client.server()
        ),
    )?;
    let installed = session
        .client
        .put("/license", &json!({ "license": text.trim() }), None)?;
    output::item(session, &installed)?;
    Ok(Completion::Done)
}

pub fn remove(session: &Session, key_id: &str) -> Result<Completion, Failure> {
    prompt::confirm(
        session,
        &format!("Take away the licence of the key {key_id}?"),
    )?;
    let left = session.client.delete(&format!("/license/{key_id}"))?;
    output::item(session, &left)?;
    Ok(Completion::Done)
}

pub fn reset_floor(session: &Session, action: &FloorAction) -> Result<Completion, Failure> {
    let FloorAction::Reset { file } = action;
    let text = keys::read_text(file)?;
    prompt::confirm(session, "Let time count by the server's clock again?")?;
    let body = json!({ "license": text.trim() });
    output::item(
        session,
        &session.client.post("/license/floor-reset", &body)?,
    )?;
    Ok(Completion::Done)
}

fn issue(args: &IssueArgs) -> Result<Completion, Failure> {
    let key = keys::read_secret(&args.key)?;
    let text = license::issue(&key, &claims(args, now_seconds()))
        .map_err(|error| Failure::Signing(error.to_string()))?;
    match &args.out {
        Some(path) => {
            std::fs::write(path, text).map_err(Failure::file(path.display().to_string()))?
        }
        None => output::text(&text)?,
    }
    Ok(Completion::Done)
}

fn claims(args: &IssueArgs, now_seconds: i64) -> Claims {
    let features = if args.all_features {
        FEATURES.map(str::to_owned).to_vec()
    } else {
        args.features.clone()
    };
    Claims {
        iss: ISSUER.to_owned(),
        sub: args.customer.clone(),
        features,
        modules: std::collections::BTreeMap::new(),
        installation: args.installation.clone(),
        max_hosts: args.max_hosts,
        iat: now_seconds,
        nbf: now_seconds - CLOCK_DIFFERENCE_SECONDS,
        exp: now_seconds + i64::from(args.days) * SECONDS_PER_DAY,
        grace_days: args.grace_days,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this program needs the wall clock; what depends on it takes it as an argument"
)]
fn now_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 yields a licence that is over: refused, not dangerous.
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_holds_from_now_for_its_days() {
        let args = IssueArgs {
            key: PathBuf::new(),
            customer: "Example".into(),
            features: vec!["fleet_groups".into()],
            all_features: false,
            days: 30,
            grace_days: 7,
            max_hosts: Some(5),
            installation: None,
            out: None,
        };
        let claims = claims(&args, 1_000_000);
        assert_eq!(
            (claims.iat, claims.exp),
            (1_000_000, 1_000_000 + 30 * 86_400)
        );
        assert!(claims.nbf < claims.iat);
        assert_eq!(claims.features, ["fleet_groups"]);
        let all = super::claims(
            &IssueArgs {
                all_features: true,
                ..args
            },
            0,
        );
        assert_eq!(all.features.len(), FEATURES.len());
    }
}
