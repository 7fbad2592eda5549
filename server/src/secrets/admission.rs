//! Whether somebody may launch an operation with the secrets it names, on these hosts.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_protocol::references::PlacedRef;
use fleetwright_protocol::{HostId, SecretRef, Violation};

use super::decide::{self, Found, Reach};
use super::resolve::Unresolved;
use super::{GroupsAnswer, GroupsQuestion, Secrets, store};
use crate::auth::{Role, delegation};
use crate::db::DbError;

/// The scope that using secrets asks for, beside that of what is launched.
pub const USE: &str = "secrets.use";

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the secrets do not allow it")]
    Invalid(Vec<Violation>),
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Secrets {
    /// By what the principal may do now, read from the database; who may not use secrets does not learn which there are.
    pub async fn admit(
        &self,
        principal: &str,
        placed: &[PlacedRef],
        hosts: &[HostId],
    ) -> Result<(), Refusal> {
        if placed.is_empty() {
            return Ok(());
        }
        let principal = delegation::of(self.db(), principal, self.now_us()).await?;
        let principal =
            principal.ok_or(Refusal::Forbidden("Nobody may use secrets in this name."))?;
        if principal.role < Role::Operator {
            return Err(Refusal::Forbidden("Using secrets needs the role operator."));
        }
        if !principal.scopes.allow(USE, false) {
            return Err(Refusal::Forbidden(
                "Using secrets needs the scope `secrets.use`.",
            ));
        }
        let references: BTreeSet<&SecretRef> =
            placed.iter().map(|placed| &placed.reference).collect();
        let mut found = BTreeMap::new();
        for reference in references {
            found.insert(reference.clone(), self.look_at(reference, hosts).await?);
        }
        match decide::faults(placed, &found) {
            faults if faults.is_empty() => Ok(()),
            faults => Err(Refusal::Invalid(faults)),
        }
    }

    async fn look_at(&self, reference: &SecretRef, hosts: &[HostId]) -> Result<Found, DbError> {
        let Some(row) = store::sealed(self.db(), reference).await? else {
            return Ok(Found::Missing);
        };
        let value = match self.open(reference, &row) {
            Ok(value) => value,
            Err(Unresolved::Db(error)) => return Err(error),
            Err(Unresolved::Gone(_) | Unresolved::TooLarge(_)) => return Ok(Found::Missing),
            Err(Unresolved::Unreadable {
                sealed_with, key, ..
            }) => return Ok(Found::Unreadable { sealed_with, key }),
        };
        let text = std::str::from_utf8(value.bytes());
        Ok(Found::Value {
            bytes: value.bytes().len(),
            can_be_variable: text.is_ok_and(|text| !text.contains('\0')),
            reach: self.reach(row.groups, hosts).await,
        })
    }

    async fn reach(&self, groups: Vec<String>, hosts: &[HostId]) -> Reach {
        if groups.is_empty() {
            return Reach::Allowed;
        }
        match self.ask_groups(GroupsQuestion::Hosts(groups)).await {
            Ok(GroupsAnswer::Hosts(inside)) => {
                match hosts.iter().filter(|host| !inside.contains(host)).count() {
                    0 => Reach::Allowed,
                    hosts => Reach::Outside { hosts },
                }
            }
            Ok(GroupsAnswer::Ids(_)) => Reach::Unknown {
                why: "another question was answered".to_owned(),
            },
            Err(why) => Reach::Unknown { why },
        }
    }
}
