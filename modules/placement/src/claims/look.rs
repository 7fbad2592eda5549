//! Reads what a round of claims is decided on.

use std::collections::{BTreeMap, BTreeSet};

use fleetwright_plugin_api::sdk::{RowError, Rows, Server, ServerError, Statement};
use uuid::Uuid;

use super::decide::reach::reach;
use super::decide::{Ask, Claimant, Room, Situation};
use super::store::{self, Named};
use crate::budgets;
use crate::factories::store::{self as factories, Factory};
use crate::settings::Settings;

/// First jobs read of a queue, at least: one whose estimate is more than what is left is passed over.
const HEADS_MIN: usize = 16;
/// What one read takes: 64 statements, 10,000 rows.
const HEADS_PER_READ: usize = 60;
const RUNNING_PER_READ: usize = 8;
/// Looked at again after the windows of budgets that were over have been left.
const ROLLOVERS_MAX: usize = 5;

/// What was read.
pub struct Sight {
    pub situation: Situation,
    pub factories: BTreeMap<Uuid, Factory>,
    pub named: Vec<Named>,
}

/// Reads for these claims; `depth` best jobs for each are seen, whatever the others take. Asks for one job get it as their
/// queue, empty where it does not wait.
pub async fn look(
    server: &Server,
    settings: &Settings,
    asks: &mut [Ask],
    names: &[(Uuid, &str)],
    depth: usize,
) -> Result<Sight, ServerError> {
    let mut sight = first_look(server, settings, asks, names).await?;
    second_look(server, &mut sight, asks, depth).await?;
    Ok(sight)
}

async fn first_look(
    server: &Server,
    settings: &Settings,
    asks: &[Ask],
    names: &[(Uuid, &str)],
) -> Result<Sight, ServerError> {
    let ids: BTreeSet<Uuid> = asks.iter().map(|ask| ask.factory_id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    for _ in 0..ROLLOVERS_MAX {
        // Before the queues: what waits then has its product's weights and budget among them, or was queued since.
        let mut statements = vec![store::select_weights(), factories::select_all(&ids)];
        statements.extend(settings.budgets.then(budgets::store::select_awaited));
        statements.extend(store::select_named(names));
        let mut tables = server.db().read(statements).await?.into_iter();
        let mut next = || tables.next().ok_or_else(missing);
        let weights = store::weights_of(&next()?)?;
        let factories = factories_of(&next()?)?;
        let rooms = match settings.budgets {
            true => rooms_of(server, &next()?).await?,
            false => Some(BTreeMap::new()),
        };
        let named = match names {
            [] => Vec::new(),
            _ => store::named_of(&next()?)?,
        };
        let Some(rooms) = rooms else {
            continue;
        };
        let tenants = factories.values().map(|factory| factory.tenant_id.as_str());
        let queues = match factories.is_empty() {
            true => Vec::new(),
            false => store::queues(server.db(), &tenants.collect()).await?,
        };
        let situation = Situation {
            now_us: server.now_us(),
            preemption: settings.preemption,
            factories: factories.values().map(claimant).collect(),
            queues,
            weights,
            rooms,
            running: BTreeMap::new(),
        };
        return Ok(Sight {
            situation,
            factories,
            named,
        });
    }
    Err(ServerError::Unavailable(
        "budgets keep rolling over".to_owned(),
    ))
}

/// The jobs: the first of the queues that can be reached, those asked for by their id, and what factories without a seat hold.
async fn second_look(
    server: &Server,
    sight: &mut Sight,
    asks: &mut [Ask],
    depth: usize,
) -> Result<(), ServerError> {
    let situation = &mut sight.situation;
    let reached = reach(situation, asks, depth);
    let heads = depth.max(HEADS_MIN);
    let mut statements: Vec<Statement> = reached
        .iter()
        .filter_map(|place| situation.queues.get(*place))
        .map(|queue| store::select_heads(&queue.bucket, heads))
        .collect();
    statements.extend(
        asks.iter()
            .filter_map(|ask| ask.only_id)
            .map(store::select_only),
    );
    let tables = store::read_all(server.db(), statements, HEADS_PER_READ).await?;
    let mut tables = tables.iter();
    for place in &reached {
        let rows = tables.next().ok_or_else(missing)?;
        if let Some(queue) = situation.queues.get_mut(*place) {
            queue.heads = store::heads_of(rows)?;
        }
    }
    for ask in asks.iter_mut().filter(|ask| ask.only_id.is_some()) {
        ask.only = store::only_of(tables.next().ok_or_else(missing)?)?;
    }
    let full = full(situation, asks);
    let statements = full.iter().map(|id| store::select_running(*id)).collect();
    let tables = store::read_all(server.db(), statements, RUNNING_PER_READ).await?;
    for (id, rows) in full.into_iter().zip(&tables) {
        situation.running.insert(id, store::running_of(rows)?);
    }
    Ok(())
}

/// Factories that may have no seat left when their turn comes, where a critical job waits for them.
fn full(situation: &Situation, asks: &[Ask]) -> BTreeSet<Uuid> {
    let mut claims: BTreeMap<Uuid, i64> = BTreeMap::new();
    let urgent = |ask: &&Ask| situation.preemption && situation.is_urgent(ask);
    for ask in asks.iter().filter(urgent) {
        *claims.entry(ask.factory_id).or_default() += 1;
    }
    let is_full = |id: &Uuid, claims: i64| {
        let factory = situation.factories.get(id);
        factory.is_some_and(|factory| factory.seats_free < claims)
    };
    let full = claims
        .into_iter()
        .filter(|(id, claims)| is_full(id, *claims));
    full.map(|(id, _)| id).collect()
}

/// None: a window was over and is left now; look again.
async fn rooms_of(
    server: &Server,
    rows: &Rows,
) -> Result<Option<BTreeMap<String, Room>>, ServerError> {
    let mut rooms = BTreeMap::new();
    let mut rolled = false;
    for row in rows.iter() {
        let budget = budgets::store::budget_of(row)?;
        rolled |= budgets::actions::roll_over(server, &budget, true).await?;
        let room = Room {
            closed: budget.reserved(0).is_err(),
            micros: budget.remaining_micros(),
        };
        rooms.insert(budget.product_id, room);
    }
    Ok((!rolled).then_some(rooms))
}

fn factories_of(rows: &Rows) -> Result<BTreeMap<Uuid, Factory>, RowError> {
    let factories = rows.iter().map(|row| {
        let factory = factories::factory_of(row)?;
        Ok((factory.id, factory))
    });
    factories.collect()
}

fn claimant(factory: &Factory) -> (Uuid, Claimant) {
    let claimant = Claimant {
        tenant_id: factory.tenant_id.clone(),
        capabilities: factory.capabilities.clone(),
        seats_free: factory.seat_limit.saturating_sub(factory.seats_used),
    };
    (factory.id, claimant)
}

fn missing() -> ServerError {
    ServerError::Internal("a read gave fewer tables than statements".to_owned())
}
