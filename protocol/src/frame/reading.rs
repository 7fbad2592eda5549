//! Reads what agents say. A tagged enum is copied into a tree before serde knows which of its variants it is; the frames
//! that come by the ten thousand are read in place instead.

use std::borrow::Cow;

use serde::Deserialize;

use super::AgentFrame;
use crate::ids::CommandId;
use crate::outcome::Outcome;

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, rename = "type")]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct OfCommand {
    command_id: CommandId,
    attempt: u32,
}

#[derive(Deserialize)]
struct Finished {
    command_id: CommandId,
    attempt: u32,
    outcome: Box<Outcome>,
}

/// The same as deserialising the enum, in half the time for the most frequent types.
pub fn read_agent_frame(text: &str) -> serde_json::Result<AgentFrame> {
    let tag: Tag<'_> = serde_json::from_str(text)?;
    Ok(match &*tag.name {
        "heartbeat" => AgentFrame::Heartbeat(serde_json::from_str(text)?),
        "command_received" => {
            let OfCommand {
                command_id,
                attempt,
            } = serde_json::from_str(text)?;
            AgentFrame::CommandReceived {
                command_id,
                attempt,
            }
        }
        "command_started" => {
            let OfCommand {
                command_id,
                attempt,
            } = serde_json::from_str(text)?;
            AgentFrame::CommandStarted {
                command_id,
                attempt,
            }
        }
        "command_finished" => {
            let Finished {
                command_id,
                attempt,
                outcome,
            } = serde_json::from_str(text)?;
            AgentFrame::CommandFinished {
                command_id,
                attempt,
                outcome,
            }
        }
        _ => serde_json::from_str(text)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_its_enum_would_be() {
        let id = "00000000-0000-0000-0000-000000000007";
        let of_command = |name: &str, rest: &str| {
            format!(r#"{{"mood":1,"command_id":"{id}","type":"{name}","attempt":2{rest}}}"#)
        };
        let good = [
            r#"{"type":"heartbeat","load_1m":0.5,"memory_available_mb":7}"#.to_owned(),
            of_command("command_received", ""),
            of_command("command_started", ""),
            of_command("command_not_started", r#","reason":"disk_full""#),
            of_command(
                "command_finished",
                r#","outcome":{"status":"succeeded","exit_code":0,"stdout":{"total_bytes":3,"head":"aGkK"}}"#,
            ),
        ];
        for text in good {
            let expected: AgentFrame = serde_json::from_str(&text).unwrap();
            assert_eq!(read_agent_frame(&text).unwrap(), expected, "{text}");
        }
        let bad = [
            String::new(),
            "[]".to_owned(),
            r#"{"attempt":1}"#.to_owned(),
            r#"{"type":"command_started","attempt":1}"#.to_owned(),
            of_command("command_started", r#","type":"command_received""#),
            of_command("command_finished", ""),
        ];
        for text in bad {
            assert!(serde_json::from_str::<AgentFrame>(&text).is_err(), "{text}");
            assert!(read_agent_frame(&text).is_err(), "{text}");
        }
    }
}
