//! What the core asks of the groups module: which groups those are, and which hosts are in them.

use std::collections::BTreeSet;

use fleetwright_plugin_api::abi::{AbiPayload, Ctx, RString};
use fleetwright_plugin_api::wire::CallContext;
use fleetwright_protocol::HostId;
use serde_json::{Value, json};

use super::Modules;
use crate::secrets::{GroupsAnswer, GroupsQuestion};

const MODULE: &str = "groups";

impl Modules {
    /// The error is a sentence for a person.
    pub async fn answer_groups(&self, question: GroupsQuestion) -> Result<GroupsAnswer, String> {
        match question {
            GroupsQuestion::Ids(names) => {
                let (answer, _) = self.ask_groups("stored", &names).await?;
                let ids = answer["group_ids"].as_array().cloned().unwrap_or_default();
                let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned));
                Ok(GroupsAnswer::Ids(ids.collect()))
            }
            GroupsQuestion::Hosts(ids) => {
                let (_, blob) = self.ask_groups("select", &ids).await?;
                let hosts: BTreeSet<HostId> = blob
                    .chunks_exact(16)
                    .filter_map(HostId::from_slice)
                    .collect();
                Ok(GroupsAnswer::Hosts(hosts))
            }
        }
    }

    async fn ask_groups(
        &self,
        method: &str,
        groups: &[String],
    ) -> Result<(Value, Vec<u8>), String> {
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
        let answer = self.invoke(Ctx::from(&context), MODULE, method, payload);
        let answer = answer.await.map_err(|error| {
            tracing::info!(code = error.code, message = %error.message, "groups do not answer");
            "the groups module does not know them, or is not there or not licensed".to_owned()
        })?;
        let json = serde_json::from_slice(&answer.json).unwrap_or(Value::Null);
        Ok((json, answer.blob.into()))
    }
}
