//! Answers selectors and group memberships: brings the index and the groups up to date, then evaluates on a thread where it
//! may take its time. Not the routes, and not the changes of groups.

use std::sync::{Arc, PoisonError, RwLock};

use fleetwright_plugin_api::sdk::{Server, ServerError};
use fleetwright_selector::{CriterionExplanation, Lookups, Selection, ValidSelector};
use uuid::Uuid;

use crate::catalog::{Catalog, asks_last_seen};
use crate::inventory::{HostLine, Inventory};
use crate::membership::{LastSeen, Memory, groups_ask_last_seen};
use crate::store;

/// How often the groups are read again because somebody wrote meanwhile. Each time somebody else has got on, so this many
/// in a row means that the database is not what it should be.
const READS_MAX: usize = 20;

/// The module's state. Clones share it.
#[derive(Clone)]
pub struct Engine {
    state: Arc<EngineState>,
}

struct EngineState {
    server: Server,
    inventory: Inventory,
    catalog: RwLock<Arc<Catalog>>,
    memory: Memory,
}

/// What a selector selects now.
#[derive(Clone, Debug)]
pub struct Selected {
    pub selection: Selection,
    pub explanations: Option<Vec<CriterionExplanation>>,
}

/// Some of the members of a group, ascending by id.
#[derive(Clone, Debug)]
pub struct MemberPage {
    pub items: Vec<(Uuid, Option<HostLine>)>,
    /// All members, also those not on this page.
    pub count: u64,
    pub more: bool,
}

/// Which members of a group are asked for.
#[derive(Clone, Copy, Debug)]
pub struct MembersAsked {
    pub group_id: Uuid,
    /// Without those of descendants.
    pub direct: bool,
    pub after: Option<Uuid>,
    pub limit: usize,
}

/// Why a selector has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// As written in the selector.
    #[error("no such groups: {0:?}")]
    UnknownGroups(Vec<String>),
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Engine {
    pub fn new(server: Server) -> Self {
        Self {
            state: Arc::new(EngineState {
                server,
                inventory: Inventory::default(),
                catalog: RwLock::default(),
                memory: Memory::default(),
            }),
        }
    }

    pub fn server(&self) -> &Server {
        &self.state.server
    }

    /// Keeps the index up to date; never ends.
    pub async fn follow_inventory(&self) {
        self.state.inventory.follow(&self.state.server).await;
    }

    /// All groups, with every change that was acknowledged before this was called.
    pub async fn catalog(&self) -> Result<Arc<Catalog>, ServerError> {
        let known = self.known_catalog();
        if store::generation(self.state.server.db()).await? == known.generation() {
            return Ok(known);
        }
        self.read_catalog().await
    }

    async fn read_catalog(&self) -> Result<Arc<Catalog>, ServerError> {
        for _ in 0..READS_MAX {
            let known = self.known_catalog();
            let (changes, consistent) =
                store::changes(self.state.server.db(), known.generation()).await?;
            if changes.generation == known.generation() && consistent {
                return Ok(known);
            }
            let next = if changes.generation < known.generation() {
                // An older database was put in place under the running server.
                Catalog::default()
            } else {
                known.with(changes)
            };
            let next = Arc::new(next);
            self.keep_catalog(&known, &next);
            if consistent && next.generation() > known.generation() {
                return Ok(next);
            }
        }
        Err(ServerError::Unavailable(
            "the groups keep changing while they are read".to_owned(),
        ))
    }

    /// Puts hosts in the order that operations go through a fleet: online before offline, then by fully qualified name (those
    /// without one last), then by id.
    pub fn sort_online_then_name(&self, ids: &mut [Uuid]) {
        let indexed = self.state.inventory.read();
        ids.sort_by_cached_key(|id| {
            let line = indexed.lines.get(id);
            let offline = line.is_none_or(|line| line.status != "online");
            let fqdn = line.and_then(|line| line.fqdn.clone());
            (offline, fqdn.is_none(), fqdn, *id)
        });
    }

    /// Evaluates a selector against the inventory as it is now.
    pub async fn select(
        &self,
        selector: ValidSelector,
        explain: bool,
    ) -> Result<Selected, SelectError> {
        let newest = self.state.server.hosts().revision();
        let mut catalog = Arc::default();
        let mut groups = Vec::new();
        if !selector.group_references().is_empty() {
            catalog = self.catalog().await?;
            groups = resolve_all(&catalog, &selector)?;
        }
        let needs_last_seen = asks_last_seen(&selector) || groups_ask_last_seen(&catalog, &groups);
        let last_seen = self.last_seen(needs_last_seen).await?;
        self.state.inventory.reached(newest).await?;
        let answer = self.on_blocking_thread(move |state| {
            state.select(&selector, &catalog, &groups, last_seen.as_ref(), explain)
        });
        Ok(answer.await?)
    }

    /// The members of a group now; the group must be in the catalogue.
    pub async fn members(
        &self,
        catalog: Arc<Catalog>,
        asked: MembersAsked,
    ) -> Result<MemberPage, ServerError> {
        let newest = self.state.server.hosts().revision();
        let needs_last_seen = groups_ask_last_seen(&catalog, &[asked.group_id]);
        let last_seen = self.last_seen(needs_last_seen).await?;
        self.state.inventory.reached(newest).await?;
        self.on_blocking_thread(move |state| state.members(&catalog, asked, last_seen.as_ref()))
            .await
    }

    async fn last_seen(&self, needed: bool) -> Result<Option<LastSeen>, ServerError> {
        if !needed {
            return Ok(None);
        }
        let entries = self.state.server.hosts().last_seen().await?;
        Ok(Some(
            entries.into_iter().map(|(id, at)| (id.0, at)).collect(),
        ))
    }

    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EngineState) -> T + Send + 'static,
    ) -> Result<T, ServerError> {
        let state = Arc::clone(&self.state);
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        done.map_err(|error| ServerError::Internal(format!("an evaluation failed: {error}")))
    }

    fn known_catalog(&self) -> Arc<Catalog> {
        let catalog = self.state.catalog.read();
        Arc::clone(&catalog.unwrap_or_else(PoisonError::into_inner))
    }

    /// Unless somebody else has put another there meanwhile.
    fn keep_catalog(&self, known: &Arc<Catalog>, next: &Arc<Catalog>) {
        let catalog = self.state.catalog.write();
        let mut catalog = catalog.unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&catalog, known) {
            *catalog = Arc::clone(next);
        }
    }
}

impl EngineState {
    fn select(
        &self,
        selector: &ValidSelector,
        catalog: &Catalog,
        groups: &[Uuid],
        last_seen: Option<&LastSeen>,
        explain: bool,
    ) -> Selected {
        let indexed = self.inventory.read();
        let membership = self.memory.members(&indexed, catalog, groups, last_seen);
        let lookups = Lookups {
            group_members: &|reference| membership.effective(reference),
            last_seen_at_us: &|id| last_seen?.get(id).copied(),
        };
        Selected {
            selection: indexed.index.select(selector, &lookups),
            explanations: explain.then(|| indexed.index.explain(selector, &lookups)),
        }
    }

    fn members(
        &self,
        catalog: &Catalog,
        asked: MembersAsked,
        last_seen: Option<&LastSeen>,
    ) -> MemberPage {
        let indexed = self.inventory.read();
        let groups = [asked.group_id];
        let membership = self.memory.members(&indexed, catalog, &groups, last_seen);
        let members = membership.of(asked.group_id).cloned().unwrap_or_default();
        let slots = if asked.direct {
            members.own
        } else {
            members.effective
        };
        let ids = indexed.index.ids_of(&slots);
        let from = asked
            .after
            .map_or(0, |after| ids.partition_point(|id| *id <= after));
        let rest = ids.get(from..).unwrap_or_default();
        let page = rest.get(..asked.limit).unwrap_or(rest);
        MemberPage {
            items: page
                .iter()
                .map(|id| (*id, indexed.lines.get(id).cloned()))
                .collect(),
            count: slots.len(),
            more: rest.len() > page.len(),
        }
    }
}

fn resolve_all(catalog: &Catalog, selector: &ValidSelector) -> Result<Vec<Uuid>, SelectError> {
    let mut unknown = Vec::new();
    let mut groups = Vec::new();
    for reference in selector.group_references() {
        match catalog.resolve(reference) {
            Some(id) => groups.push(id),
            None => unknown.push(reference.to_owned()),
        }
    }
    if unknown.is_empty() {
        Ok(groups)
    } else {
        Err(SelectError::UnknownGroups(unknown))
    }
}
