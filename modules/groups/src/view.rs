//! What clients see: selections, groups and their members.

use fleetwright_plugin_api::sdk::{Paging, Timestamp};
use fleetwright_selector::ValidSelector;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::catalog::Group;
use crate::engine::{MemberPage, Selected};
use crate::inventory::HostLine;

/// The answer of `POST /fleet/select`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SelectionView {
    /// Ascending, without duplicates; left out with `count_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_ids: Option<Vec<Uuid>>,
    pub count: u64,
    /// Explicit ids that are no host's; ascending.
    pub unknown_host_ids: Vec<Uuid>,
    /// `sha256:` and the SHA-256 of the sorted raw ids.
    pub digest: String,
    /// With `explain`: how the hosts fare with each criterion, a compound before its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<Vec<ExplanationView>>,
}

/// How many hosts matched one criterion. The three counts sum to all hosts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExplanationView {
    /// Into the canonical form of the selector, such as `/criteria/0/any/1`.
    pub pointer: String,
    /// In text form.
    pub criterion: String,
    pub matched: u64,
    pub not_matched: u64,
    /// Hosts that lack a field the answer depends on.
    pub unknown: u64,
}

/// A group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GroupView {
    pub id: Uuid,
    pub name: String,
    pub description: String,
    pub parent_id: Option<Uuid>,
    /// Ascending. May name hosts that are no more.
    pub explicit_host_ids: Vec<Uuid>,
    /// In canonical form, with groups by id.
    #[schema(value_type = Option<Object>)]
    pub selector: Option<Value>,
    pub created_at: String,
    pub updated_at: String,
    pub revision: i64,
}

/// A page of groups, ascending by id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GroupPage {
    pub items: Vec<GroupView>,
    pub next_cursor: Option<String>,
}

/// A member of a group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemberView {
    pub id: Uuid,
    pub fqdn: Option<String>,
    /// `online` or `offline`.
    pub status: Option<String>,
    pub approval_status: Option<String>,
}

/// A page of members, ascending by id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MemberPageView {
    pub items: Vec<MemberView>,
    pub next_cursor: Option<String>,
    /// All members, also those on other pages.
    pub count: u64,
}

pub fn selection(selected: Selected, count_only: bool) -> SelectionView {
    let selection = selected.selection;
    let explain = selected.explanations.map(|explanations| {
        let views = explanations.into_iter().map(|one| ExplanationView {
            pointer: one.pointer,
            criterion: one.criterion,
            matched: one.matched,
            not_matched: one.not_matched,
            unknown: one.unknown,
        });
        views.collect()
    });
    SelectionView {
        host_ids: (!count_only).then_some(selection.host_ids),
        count: selection.count,
        unknown_host_ids: selection.unknown_host_ids,
        digest: selection.digest,
        explain,
    }
}

pub fn group(group: &Group) -> GroupView {
    GroupView {
        id: group.id,
        name: group.name.clone(),
        description: group.description.clone(),
        parent_id: group.parent_id,
        explicit_host_ids: group.explicit_host_ids.clone(),
        selector: group.selector.as_ref().map(ValidSelector::to_json),
        created_at: time(group.created_at_us),
        updated_at: time(group.updated_at_us),
        revision: group.revision,
    }
}

pub fn members(page: MemberPage, paging: &Paging) -> MemberPageView {
    let place = |(id, _): &(Uuid, Option<HostLine>)| *id;
    let last = page.items.last().map(place).filter(|_| page.more);
    let paged = paging.page_until(page.items, last, place, |(id, line)| {
        let (fqdn, states) = line.map_or((None, None), |line| {
            (line.fqdn, Some((line.status, line.approval_status)))
        });
        let (status, approval_status) = states.unzip();
        MemberView {
            id,
            fqdn,
            status,
            approval_status,
        }
    });
    MemberPageView {
        items: paged.items,
        next_cursor: paged.next_cursor,
        count: page.count,
    }
}

fn time(at_us: i64) -> String {
    Timestamp(at_us).to_string()
}
