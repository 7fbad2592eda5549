//! `[system] service_manager`: a manager's name, a program, or an argument vector. What a name means on this host is
//! found out when it is used.

use serde::{Deserialize, Serialize};

/// Which service manager to use instead of looking for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TextOrList", into = "TextOrList")]
pub enum ServiceManagerSetting {
    Systemd,
    OpenRc,
    Sysv,
    /// This host's services are not the server's business.
    None,
    /// What stands before `systemctl`'s own arguments: `["sudo", "-n", "systemctl"]`, or a program that takes the same
    /// arguments.
    Command(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TextOrList {
    Text(String),
    List(Vec<String>),
}

impl TryFrom<TextOrList> for ServiceManagerSetting {
    type Error = String;

    fn try_from(found: TextOrList) -> Result<Self, String> {
        match found {
            TextOrList::Text(text) => match text.as_str() {
                "systemd" => Ok(Self::Systemd),
                "openrc" => Ok(Self::OpenRc),
                "sysv" => Ok(Self::Sysv),
                "none" => Ok(Self::None),
                path if path.starts_with('/') => Ok(Self::Command(vec![text])),
                _ => Err(format!(
                    "service_manager is systemd, openrc, sysv, none, an absolute path or a list of words, not `{text}`"
                )),
            },
            TextOrList::List(words) if words.is_empty() => {
                Err("service_manager holds an empty command".to_owned())
            }
            TextOrList::List(words) => Ok(Self::Command(words)),
        }
    }
}

impl From<ServiceManagerSetting> for TextOrList {
    fn from(setting: ServiceManagerSetting) -> Self {
        match setting {
            ServiceManagerSetting::Systemd => Self::Text("systemd".to_owned()),
            ServiceManagerSetting::OpenRc => Self::Text("openrc".to_owned()),
            ServiceManagerSetting::Sysv => Self::Text("sysv".to_owned()),
            ServiceManagerSetting::None => Self::Text("none".to_owned()),
            ServiceManagerSetting::Command(words) => Self::List(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_service_manager_is_a_name_a_program_or_a_list_and_nothing_else() {
        let command = |words: &[&str]| {
            ServiceManagerSetting::Command(words.iter().map(|word| (*word).to_owned()).collect())
        };
        for (value, expected) in [
            (json!("systemd"), Some(ServiceManagerSetting::Systemd)),
            (json!("openrc"), Some(ServiceManagerSetting::OpenRc)),
            (json!("sysv"), Some(ServiceManagerSetting::Sysv)),
            (json!("none"), Some(ServiceManagerSetting::None)),
            (json!("/opt/systemctl"), Some(command(&["/opt/systemctl"]))),
            (
                json!(["sudo", "systemctl"]),
                Some(command(&["sudo", "systemctl"])),
            ),
            (json!("upstart"), None),
            (json!(""), None),
            (json!([]), None),
            (json!(7), None),
        ] {
            let read = serde_json::from_value::<ServiceManagerSetting>(value.clone()).ok();
            assert_eq!(read, expected, "{value}");
            if let Some(setting) = read {
                let again: Value = serde_json::to_value(&setting).unwrap();
                assert_eq!(
                    serde_json::from_value::<ServiceManagerSetting>(again).unwrap(),
                    setting
                );
            }
        }
    }
}
