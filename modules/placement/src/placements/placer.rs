//! Decides on the placements that wait, many at once, and commits them: those of one node one after the other, because each is
//! committed on the node's generation; those of different nodes at the same time. Each in a batch of its own, with its own
//! caller's audit row and stored answer. Whoever lost a race is decided on again.

use std::collections::BTreeMap;

use fleetwright_plugin_api::sdk::{AuditEntry, Batch, CallContext, Problem, Reply, ServerError};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::decide::{
    Chosen, Explanation, Quota, Refusal, Round, Rules, Wanted, explain, place_all,
};
use super::placement::Placement;
use super::tenants::store as tenants;
use super::{store, view};
use crate::error::{ATTEMPTS_MAX, PlacementError};
use crate::nodes::fleet::{Fleet, NODES_SIGNAL};
use crate::rounds::Rounds;

/// Decided on at once: one read of quotas serves so many.
const TOGETHER_MAX: usize = 64;
/// Nodes named in a refusal: what an error has room for. All are counted.
const REASONS_SHOWN: usize = 64;

/// The placements that wait, and the fleet they wait for. Cheap to clone.
#[derive(Clone)]
pub struct Placer {
    pub fleet: Fleet,
    rounds: Rounds<Waiting>,
}

/// One that waits.
struct Waiting {
    context: CallContext,
    wanted: Wanted,
    /// All of it but where it goes.
    draft: Placement,
    /// Decided on so often already.
    attempts: usize,
    answer: oneshot::Sender<Result<Reply, PlacementError>>,
}

/// Where it goes and the generation of that node, or why it goes nowhere.
type Decision = Result<(Chosen, i64), (Refusal, Explanation)>;

impl Placer {
    pub fn new(fleet: &Fleet) -> Self {
        Self {
            fleet: fleet.clone(),
            rounds: Rounds::default(),
        }
    }

    /// Places one: waits for its turn, with others.
    pub async fn place(
        &self,
        context: &CallContext,
        wanted: Wanted,
        draft: Placement,
    ) -> Result<Reply, PlacementError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            context: context.clone(),
            wanted,
            draft,
            attempts: 0,
            answer,
        };
        let placer = self.clone();
        let work = move |together| {
            let placer = placer.clone();
            async move { placer.round(together).await }
        };
        self.rounds.add(waiting, TOGETHER_MAX, work);
        answered.await.unwrap_or(Err(PlacementError::Contended))
    }

    /// Decides on these and commits them; gives back those that have to be decided on again.
    async fn round(&self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let anew = waiting.iter().any(|one| one.attempts > 0);
        let decided = match self.decide(&waiting, anew).await {
            Ok(decided) => decided,
            Err(error) => return refuse_all(waiting, &error),
        };
        let mut by_node: BTreeMap<Uuid, (i64, Vec<(Waiting, Chosen)>)> = BTreeMap::new();
        let mut again = Vec::new();
        for (one, decision) in waiting.into_iter().zip(decided) {
            match decision {
                Ok((chosen, generation)) => {
                    let chain = by_node.entry(chosen.node_id);
                    let (_, chain) = chain.or_insert((generation, Vec::new()));
                    chain.push((one, chosen));
                }
                // Another server may have made room: what is stored is looked at before anybody is refused.
                Err(_) if !anew => again.push(one),
                Err((refusal, why)) => one.refuse(&refusal, &why),
            }
        }
        let chains = by_node.into_iter();
        let chains = chains
            .map(|(node_id, (generation, chain))| self.commit_chain(node_id, generation, chain));
        again.extend(join_all(chains).await.into_iter().flatten());
        again.sort_by_key(|one| one.draft.id);
        again.into_iter().filter_map(Waiting::once_more).collect()
    }

    /// What becomes of each. Why there is no room is looked for only when all that is stored was looked at.
    async fn decide(&self, waiting: &[Waiting], anew: bool) -> Result<Vec<Decision>, ServerError> {
        if anew {
            self.fleet.refresh().await?;
        }
        let names: Vec<&str> = waiting
            .iter()
            .map(|one| one.wanted.tenant_id.as_str())
            .collect();
        let mut quotas = tenants::quotas(self.fleet.server().db(), &names).await?;
        let limits = self.fleet.limits();
        let rules = Rules {
            headroom_mb: i64::try_from(limits.headroom_mb).unwrap_or(i64::MAX),
            strategy: limits.strategy,
        };
        let registry = self.fleet.read().await?;
        let mut round = Round::new(registry.candidates());
        let wanted: Vec<&Wanted> = waiting.iter().map(|one| &one.wanted).collect();
        let decided = place_all(&wanted, &mut round, &mut quotas, &rules);
        let told = wanted
            .iter()
            .zip(decided)
            .map(|(wanted, decided)| -> Decision {
                let chosen = decided.map_err(|refusal| {
                    let is_told = anew && refusal == Refusal::NoCapacity;
                    let why = is_told.then(|| explain(wanted, &round, &rules, REASONS_SHOWN));
                    (refusal, why.unwrap_or_default())
                })?;
                let generation = round.get(chosen.node_id).map(|node| node.generation);
                Ok((chosen, generation.unwrap_or_default()))
            });
        Ok(told.collect())
    }

    /// Commits those of one node in order; gives back those that have to be decided on again.
    async fn commit_chain(
        &self,
        node_id: Uuid,
        mut generation: i64,
        chain: Vec<(Waiting, Chosen)>,
    ) -> Vec<Waiting> {
        let mut lost = Vec::new();
        for (one, chosen) in chain {
            if !lost.is_empty() {
                lost.push(one);
                continue;
            }
            let placement = Placement {
                node_id,
                pass: chosen.pass,
                ..one.draft.clone()
            };
            match self.commit(&one.context, &placement, generation).await {
                Ok(reply) => {
                    generation += 1;
                    one.tell(Ok(reply));
                }
                Err(PlacementError::Server(ServerError::Guard { .. })) => lost.push(one),
                Err(error) => one.tell(Err(error)),
            }
        }
        lost
    }

    async fn commit(
        &self,
        context: &CallContext,
        placement: &Placement,
        generation: i64,
    ) -> Result<Reply, PlacementError> {
        let reply = Reply::json(201, &view::placement(placement))?
            .with_header("etag", format!("\"{}\"", placement.revision))
            .with_header(
                "location",
                format!("/api/v1/fleet/placements/{}", placement.id),
            );
        let batch = store::insert(Batch::new(), placement, generation)
            .audit(&audit("placement.create", placement))
            .signal(NODES_SIGNAL)
            .respond(&reply);
        match self.fleet.server().db().commit(context, batch).await {
            Ok(()) => {
                let live = placement.live();
                let mut registry = self.fleet.write();
                registry.committed(placement.node_id, generation, |node| {
                    node.live.insert(live.id, live);
                });
                Ok(reply)
            }
            Err(ServerError::Constraint { .. }) => {
                let detail = "A VM of this id is placed already.";
                Err(Problem::conflict("vm-placed", detail).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Waiting {
    /// None: too often; it is told so.
    fn once_more(mut self) -> Option<Self> {
        self.attempts += 1;
        if self.attempts < ATTEMPTS_MAX {
            return Some(self);
        }
        self.tell(Err(PlacementError::Contended));
        None
    }

    fn tell(self, answer: Result<Reply, PlacementError>) {
        // Whoever is gone needs no answer.
        drop(self.answer.send(answer));
    }

    fn refuse(self, refusal: &Refusal, why: &Explanation) {
        let tenant = self.context.tenant.is_some();
        self.tell(Err(problem(refusal, why, tenant).into()));
    }
}

fn refuse_all(waiting: Vec<Waiting>, error: &ServerError) -> Vec<Waiting> {
    for one in waiting {
        one.tell(Err(error.clone().into()));
    }
    Vec::new()
}

/// A tenant's token is not told of nodes.
fn problem(refusal: &Refusal, why: &Explanation, is_tenants: bool) -> Problem {
    match refusal {
        Refusal::UnknownPreferred => unknown_preferred(),
        Refusal::Quota(quota) => quota_exceeded(quota),
        Refusal::NoCapacity => {
            let problem = Problem::conflict("no-capacity", "No node fits.");
            if is_tenants {
                return problem;
            }
            let nodes = why.nodes.iter();
            let nodes: Vec<Value> = nodes
                .map(|(id, reason)| json!({"node_id": id, "reason": reason.as_str()}))
                .collect();
            let all: usize = why.counts.values().sum();
            let counts = why.counts.iter();
            let counts: serde_json::Map<String, Value> = counts
                .map(|(reason, count)| (reason.as_str().to_owned(), (*count).into()))
                .collect();
            problem
                .with_extension("nodes_omitted", all - nodes.len())
                .with_extension("nodes", nodes)
                .with_extension("reasons", Value::Object(counts))
        }
    }
}

/// The preferred node is none, or none that the caller can see.
pub fn unknown_preferred() -> Problem {
    let detail = "There is no such node.";
    Problem::invalid_field("/preferred_node", "placement-node-unknown", detail)
}

fn quota_exceeded(quota: &Quota) -> Problem {
    let detail = "The tenant's quota does not allow it.";
    Problem::conflict("quota-exceeded", detail)
        .with_extension(
            "quota",
            json!({"vm_count": quota.vm_count_max, "memory_mb": quota.memory_mb_max}),
        )
        .with_extension(
            "used",
            json!({"vm_count": quota.vm_count, "memory_mb": quota.memory_mb}),
        )
}

/// The audit row of whatever is done with a placement.
pub fn audit(action: &str, placement: &Placement) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        target_kind: "placement".to_owned(),
        target_id: placement.id.to_string(),
        detail: json!({
            "tenant_id": placement.tenant_id,
            "vm_id": placement.vm_id,
            "node_id": placement.node_id,
            "memory_mb": placement.memory_mb,
            "vcpus": placement.vcpus,
            "pass": placement.pass,
        }),
    }
}
