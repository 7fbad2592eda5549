//! Creates and replaces schedules. Whoever saves one is its owner: it launches with their rights, so that nobody who may
//! only edit schedules can make another's do what they may not.

use fleetwright_plugin_api::sdk::{
    AuditEntry, Batch, CallContext, IfMatch, Reply, Server, ServerError,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::work::{self, KeptSelector};
use super::{ARMED_SIGNAL, ATTEMPTS_MAX, SchedulesError};
use crate::decide::Next;
use crate::request::{self, Draft, Times};
use crate::store::runs::{self, Run};
use crate::store::{self, Header, Person, Work};
use crate::view;

/// Creates a schedule, and gives the answer that was stored for a repeat of the request.
pub async fn create(
    server: &Server,
    context: &CallContext,
    body: &Value,
) -> Result<Reply, SchedulesError> {
    let (draft, kept) = read(server, context, body).await?;
    let now_us = server.now_us();
    let id = server.new_id();
    let next = armed(&draft, id, now_us);
    let person = person(context);
    let (mut header, work) = saved(&draft, &kept, id, person.clone(), now_us);
    header.next = next;
    header.created_by = person;
    let reply = view_reply(201, &header, &work, None)?
        .with_header("location", format!("/api/v1/fleet/schedules/{id}"));
    let batch = Batch::new().sql(store::insert(&header, &work));
    let batch = finish(batch, &header, &work, &kept, "schedule.create", &reply);
    commit(server, context, batch).await?;
    Ok(reply)
}

/// Replaces a schedule, if it has one of the revisions the client has seen.
pub async fn replace(
    server: &Server,
    context: &CallContext,
    id: Uuid,
    seen: &IfMatch,
    body: &Value,
) -> Result<Reply, SchedulesError> {
    // An unknown id is said before anything about the body.
    current(server, id, seen).await?;
    let (draft, kept) = read(server, context, body).await?;
    for _ in 0..ATTEMPTS_MAX {
        let old = current(server, id, seen).await?;
        let now_us = server.now_us();
        let (mut header, work) = saved(&draft, &kept, id, person(context), now_us);
        header.created_by = old.created_by.clone();
        header.created_at_us = old.created_at_us;
        header.revision = old.revision + 1;
        let keeps_times = draft.enabled == old.enabled && draft.times == times_of(&old);
        let batch = Batch::new()
            .sql_expecting(store::update(&header, &work), 1)
            .sql(store::delete_groups(id));
        let batch = if keeps_times {
            header.next = old.next;
            batch
        } else {
            header.next = armed(&draft, id, now_us);
            batch.sql(store::arm(id, header.next, now_us))
        };
        let newest = runs::newest_of(server.db(), &[id]).await?;
        let reply = view_reply(200, &header, &work, newest.first())?;
        let batch = finish(batch, &header, &work, &kept, "schedule.update", &reply);
        match commit(server, context, batch).await {
            Ok(()) => return Ok(reply),
            // Somebody else was faster: what is so now decides.
            Err(SchedulesError::Server(ServerError::Guard { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Err(SchedulesError::Contended)
}

/// When a stored schedule fires.
pub fn times_of(header: &Header) -> Times {
    Times {
        cron: header.cron.clone(),
        timezone: header.timezone.clone(),
        jitter_seconds: header.jitter_seconds,
        starts_at_us: header.starts_at_us,
        ends_at_us: header.ends_at_us,
    }
}

async fn read(
    server: &Server,
    context: &CallContext,
    body: &Value,
) -> Result<(Draft, KeptSelector), SchedulesError> {
    match request::schedule(body.clone(), server.now_us()) {
        Ok(draft) => {
            let (kind, operation_type) = (draft.kind, draft.operation_type.clone());
            let kept = work::look_at(server, context, kind, &operation_type, &draft.work).await?;
            Ok((draft, kept))
        }
        Err(refused) => {
            let found = work::faults(server, context, body).await;
            Err(SchedulesError::Unreadable(refused.and_invalid(found)))
        }
    }
}

async fn current(server: &Server, id: Uuid, seen: &IfMatch) -> Result<Header, SchedulesError> {
    let header = store::header(server.db(), id).await?;
    let header = header.ok_or(SchedulesError::NotFound)?;
    if !seen.matches(header.revision) {
        return Err(SchedulesError::Stale);
    }
    Ok(header)
}

fn armed(draft: &Draft, id: Uuid, now_us: i64) -> Option<Next> {
    let timing = draft.times.timing(id).filter(|_| draft.enabled)?;
    timing.next_after(now_us)
}

fn saved(
    draft: &Draft,
    kept: &KeptSelector,
    id: Uuid,
    owner: Person,
    now_us: i64,
) -> (Header, Work) {
    let header = Header {
        id,
        name: draft.name.clone(),
        cron: draft.times.cron.clone(),
        timezone: draft.times.timezone.clone(),
        enabled: draft.enabled,
        kind: draft.kind,
        operation_type: draft.operation_type.clone(),
        overlap: draft.overlap,
        misfire: draft.misfire,
        jitter_seconds: draft.times.jitter_seconds,
        starts_at_us: draft.times.starts_at_us,
        ends_at_us: draft.times.ends_at_us,
        created_by: owner.clone(),
        owner,
        created_at_us: now_us,
        updated_at_us: now_us,
        revision: 1,
        next: None,
        computed_at_us: now_us,
        generation: 1,
        launches: 0,
    };
    let work = Work {
        selector: kept.selector.clone(),
        ..draft.work.clone()
    };
    (header, work)
}

fn person(context: &CallContext) -> Person {
    Person {
        id: context.principal.clone(),
        name: context.principal_name.clone(),
    }
}

fn view_reply(
    status: u16,
    header: &Header,
    work: &Work,
    newest: Option<&Run>,
) -> Result<Reply, ServerError> {
    let tag = format!("\"{}\"", header.revision);
    Ok(Reply::json(status, &view::detail(header, work, newest))?.with_header("etag", tag))
}

fn finish(
    batch: Batch,
    header: &Header,
    work: &Work,
    kept: &KeptSelector,
    action: &str,
    reply: &Reply,
) -> Batch {
    batch
        .rows(
            store::INSERT_GROUPS,
            2,
            &store::group_cells(header.id, &kept.group_ids),
        )
        .audit(&audit(header, work, action))
        .signal(ARMED_SIGNAL)
        .respond(reply)
}

async fn commit(
    server: &Server,
    context: &CallContext,
    batch: Batch,
) -> Result<(), SchedulesError> {
    match server.db().commit(context, batch).await {
        // The name is all that is unique beside the id, which is new.
        Err(ServerError::Constraint { .. }) => Err(SchedulesError::NameTaken),
        other => Ok(other?),
    }
}

/// Facts and digests only: scripts and file contents may hold secrets.
fn audit(header: &Header, work: &Work, action: &str) -> AuditEntry {
    let parameters = Sha256::digest(work.parameters.to_string().as_bytes());
    let hex: String = parameters
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    AuditEntry {
        action: action.to_owned(),
        target_kind: "schedule".to_owned(),
        target_id: header.id.to_string(),
        detail: json!({
            "name": header.name,
            "cron": header.cron,
            "timezone": header.timezone,
            "enabled": header.enabled,
            "kind": header.kind.as_str(),
            "operation_type": header.operation_type,
            "parameters_sha256": hex,
            "revision": header.revision,
        }),
    }
}
