//! The inventory feed and command sets, read from the core.

use fleetwright_plugin_api::abi::{
    AbiError, AbiPayload, CapacityApi, FfiFuture, HostsApi, RResult, RVec, SetsApi,
};
use fleetwright_plugin_api::guard;
use fleetwright_plugin_api::sdk::ServerError;
use fleetwright_plugin_api::wire::{CommandQuery, SetCreate};
use fleetwright_protocol::{CommandId, HostId, SetId};

use super::ids::raw_ids;
use super::{Services, database_error, parse};
use crate::commands::create;

type Answer = FfiFuture<RResult<AbiPayload, AbiError>>;

/// Rows of a set in one answer: what the largest page of a list needs, several times.
const COMMANDS_MAX: u32 = 5_000;

impl HostsApi for Services {
    fn revision(&self) -> i64 {
        guard::body(|| self.modules.parts().hosts.revision(), |_| 0)
    }

    fn changes(&self, after_revision: i64, limit: u32) -> Answer {
        let hosts = self.modules.parts().hosts.clone();
        self.answer_json(async move {
            hosts
                .changes(after_revision, limit)
                .await
                .map_err(database_error)
        })
    }

    fn last_seen(&self) -> Answer {
        let hosts = self.modules.parts().hosts.clone();
        self.answer(async move {
            let entry = |(id, time): (HostId, i64)| {
                id.as_bytes()
                    .iter()
                    .copied()
                    .chain(time.to_le_bytes())
                    .collect()
            };
            let blob: Vec<u8> = hosts
                .last_seen()
                .into_iter()
                .flat_map(|seen| -> Vec<u8> { entry(seen) })
                .collect();
            Ok(AbiPayload {
                blob: blob.into(),
                ..AbiPayload::default()
            })
        })
    }
}

impl CapacityApi for Services {
    fn changes(&self, after: u64, limit: u32) -> Answer {
        let hosts = self.modules.parts().hosts.clone();
        self.answer_json(async move { Ok(hosts.capacity(after, limit)) })
    }
}

impl SetsApi for Services {
    fn get(&self, ids: RVec<u8>) -> Answer {
        let commands = self.modules.parts().commands.clone();
        self.answer_json(async move {
            let ids = raw_ids(&ids, SetId::from_slice)?;
            commands.get_sets(&ids).await.map_err(database_error)
        })
    }

    fn commands(&self, query: RVec<u8>) -> Answer {
        let commands = self.modules.parts().commands.clone();
        self.answer_json(async move {
            let query: CommandQuery = parse(&query)?;
            let limit = query.limit.clamp(1, COMMANDS_MAX);
            let query = CommandQuery { limit, ..query };
            commands.page(&query).await.map_err(database_error)
        })
    }

    fn command_of_host(&self, set_id: RVec<u8>, host_id: RVec<u8>) -> Answer {
        let commands = self.modules.parts().commands.clone();
        self.answer_json(async move {
            let (Some(set), Some(host)) =
                (SetId::from_slice(&set_id), HostId::from_slice(&host_id))
            else {
                return Err(ServerError::Invalid("an id is not 16 bytes".to_owned()));
            };
            commands
                .of_set_and_host(set, host)
                .await
                .map_err(database_error)
        })
    }

    fn output(&self, command_id: RVec<u8>) -> Answer {
        let commands = self.modules.parts().commands.clone();
        self.answer_json(async move {
            let id = CommandId::from_slice(&command_id);
            let id = id.ok_or_else(|| ServerError::Invalid("an id is not 16 bytes".to_owned()))?;
            commands.output(id).await.map_err(database_error)
        })
    }

    fn preview(&self, request: RVec<u8>, hosts: RVec<u8>) -> Answer {
        let commands = self.modules.parts().commands.clone();
        self.answer_json(async move {
            let request: SetCreate = parse(&request)?;
            let hosts = raw_ids(&hosts, HostId::from_slice)?;
            let previewed = create::preview(commands.registry(), &request, &hosts)
                .map_err(super::database::set_error)?;
            if let Some(principal) = &request.on_behalf_of {
                create::admit_secrets(&commands, principal, &request, &hosts)
                    .await
                    .map_err(super::database::set_error)?;
            }
            Ok(previewed)
        })
    }
}
