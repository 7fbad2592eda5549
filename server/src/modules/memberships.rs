//! What the core asks of the groups module: which groups those are, and which hosts are in them.

use std::collections::BTreeSet;

use fleetwright_plugin_api::abi::{AbiError, AbiPayload, Ctx, RString, error_code};
use fleetwright_plugin_api::wire::CallContext;
use fleetwright_protocol::HostId;
use serde_json::{Value, json};

use super::Modules;
use crate::secrets::{GroupsAnswer, GroupsQuestion};

const MODULE: &str = "groups";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("the groups module does not know them")]
    UnknownGroup,
    #[error("the groups module is not there, or does not answer")]
    Silent,
}

impl Modules {
    /// The error is a sentence for a person.
    pub async fn answer_groups(&self, question: GroupsQuestion) -> Result<GroupsAnswer, String> {
        match question {
            GroupsQuestion::Ids(names) => {
                let answer = self.ask_groups("stored", &names).await;
                let (answer, _) = answer.map_err(|why| why.to_string())?;
                let ids = answer["group_ids"].as_array().cloned().unwrap_or_default();
                let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned));
                Ok(GroupsAnswer::Ids(ids.collect()))
            }
            GroupsQuestion::Hosts(ids) => {
                let hosts = self.members(&ids).await;
                Ok(GroupsAnswer::Hosts(hosts.map_err(|why| why.to_string())?))
            }
        }
    }

    /// The hosts in any of the groups. One that is deleted has none, and takes nothing from the others.
    async fn members(&self, ids: &[String]) -> Result<BTreeSet<HostId>, Unanswered> {
        match self.ask_groups("select", ids).await {
            Ok((_, blob)) => return Ok(host_ids(&blob)),
            Err(Unanswered::Silent) => return Err(Unanswered::Silent),
            Err(Unanswered::UnknownGroup) => {}
        }
        let mut hosts = BTreeSet::new();
        for id in ids {
            match self.ask_groups("select", std::slice::from_ref(id)).await {
                Ok((_, blob)) => hosts.extend(host_ids(&blob)),
                Err(Unanswered::UnknownGroup) => {}
                Err(Unanswered::Silent) => return Err(Unanswered::Silent),
            }
        }
        Ok(hosts)
    }

    async fn ask_groups(
        &self,
        method: &str,
        groups: &[String],
    ) -> Result<(Value, Vec<u8>), Unanswered> {
        let context = CallContext {
            principal: "system:secrets".to_owned(),
            ..CallContext::default()
        };
        let question = json!({"selector": {"groups": groups}});
        let payload = AbiPayload {
            json: question.to_string().into_bytes().into(),
            ..AbiPayload::default()
        };
        let method = RString::from(method);
        let loaded = self.find(MODULE).ok_or(Unanswered::Silent)?;
        // Whatever is licensed: where a secret may go does not change when a licence lapses.
        let answer = self.invoke_loaded(&loaded, Ctx::from(&context), method, payload);
        let answer = answer.await.map_err(|error| {
            tracing::info!(code = error.code, message = %error.message, "groups do not answer");
            unanswered(&error)
        })?;
        let json = serde_json::from_slice(&answer.json).unwrap_or(Value::Null);
        Ok((json, answer.blob.into()))
    }
}

fn host_ids(raw: &[u8]) -> BTreeSet<HostId> {
    raw.chunks_exact(16)
        .filter_map(HostId::from_slice)
        .collect()
}

/// Unknown groups are all that is wrong, or there is no answer.
fn unanswered(error: &AbiError) -> Unanswered {
    let detail = error.detail_json();
    let errors = detail["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let is_unknown = |fault: &Value| fault["code"] == "group-unknown";
    let are_unknown = !errors.is_empty() && errors.iter().all(is_unknown);
    match error.code == error_code::PROBLEM && are_unknown {
        true => Unanswered::UnknownGroup,
        false => Unanswered::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Problem;
    use fleetwright_plugin_api::sdk::CallError;
    use fleetwright_protocol::Violation;

    #[test]
    fn a_deleted_group_is_told_from_a_module_that_does_not_answer() {
        let fault = |code: &'static str| Violation::new("/selector", code, "x");
        let told = |faults: Vec<Violation>| {
            let error = AbiError::from(CallError::Problem(Problem::invalid(faults)));
            matches!(unanswered(&error), Unanswered::UnknownGroup)
        };
        assert!(told(vec![fault("group-unknown"), fault("group-unknown")]));
        assert!(!told(vec![
            fault("group-unknown"),
            fault("selector-invalid")
        ]));
        assert!(!told(Vec::new()));
        let silent = AbiError::new(error_code::UNAVAILABLE, "the database is away");
        assert!(matches!(unanswered(&silent), Unanswered::Silent));
    }
}
