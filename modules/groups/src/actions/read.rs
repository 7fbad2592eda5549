//! Reads groups and their members.

use std::sync::Arc;

use uuid::Uuid;

use super::GroupsError;
use crate::catalog::Group;
use crate::engine::{Engine, MemberPage, MembersAsked};

/// Ids on one page of groups, explicit and in selectors: about 4 MiB of JSON. A page ends early rather than be larger.
const IDS_PER_PAGE_MAX: usize = 100_000;

/// Which groups a list shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListFilter {
    /// `Some(None)`: those at the top level.
    pub parent_id: Option<Option<Uuid>>,
    /// Exactly this name, in any ASCII case.
    pub name: Option<String>,
    pub after: Option<Uuid>,
}

pub async fn group(engine: &Engine, id: Uuid) -> Result<Arc<Group>, GroupsError> {
    let catalog = engine.catalog().await?;
    catalog.get(id).cloned().ok_or(GroupsError::NotFound)
}

/// A page of groups ascending by id, and whether there are more.
pub async fn list(
    engine: &Engine,
    filter: &ListFilter,
    limit: usize,
) -> Result<(Vec<Arc<Group>>, bool), GroupsError> {
    let catalog = engine.catalog().await?;
    let named = filter
        .name
        .as_ref()
        .map(|name| catalog.named(name).cloned());
    let mut found = catalog.after(filter.after).filter(|group| {
        let parent_fits = filter
            .parent_id
            .is_none_or(|parent_id| group.parent_id == parent_id);
        let name_fits = named
            .as_ref()
            .is_none_or(|named| named.as_ref().is_some_and(|named| named.id == group.id));
        parent_fits && name_fits
    });
    let mut page = Vec::new();
    let mut ids = 0;
    for group in found.by_ref() {
        ids += id_count(group);
        if !page.is_empty() && (page.len() == limit || ids > IDS_PER_PAGE_MAX) {
            return Ok((page, true));
        }
        page.push(Arc::clone(group));
    }
    Ok((page, false))
}

pub async fn members(engine: &Engine, asked: MembersAsked) -> Result<MemberPage, GroupsError> {
    let catalog = engine.catalog().await?;
    if catalog.get(asked.group_id).is_none() {
        return Err(GroupsError::NotFound);
    }
    Ok(engine.members(catalog, asked).await?)
}

fn id_count(group: &Group) -> usize {
    let in_selector = group
        .selector
        .as_ref()
        .map_or(0, |selector| selector.explicit_host_ids().len());
    group.explicit_host_ids.len() + in_selector
}
