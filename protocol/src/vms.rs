//! The virtual machines that a host says it runs. Before 1.1 an entry was a name alone; it still is where nothing else is known.
//! One entry that cannot be read is left out: the rest of a heartbeat is worth having without it.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::limits::{FACT_CHARS_MAX, VM_ID_BYTES_MAX, VMS_BYTES_MAX, VMS_ENTRIES_MAX};

/// Since this minor version of the protocol's first major one, servers read entries that are objects.
const OBJECTS_SINCE: (u32, u32) = (1, 1);
/// What is written around an id: member names, a number of 20 digits, punctuation.
const ENTRY_BYTES: usize = 64;

/// One virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmReport {
    /// At most [`VM_ID_BYTES_MAX`] bytes, not empty, without control characters.
    pub id: String,
    /// Memory it takes of its host, in mebibytes; none if it is not known.
    pub memory_resident_mb: Option<u64>,
}

impl VmReport {
    /// One of which nothing else is known.
    pub fn named(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            memory_resident_mb: None,
        }
    }

    /// Whether its id is one that is kept.
    pub fn is_sound(&self) -> bool {
        (1..=VM_ID_BYTES_MAX).contains(&self.id.len()) && !self.id.chars().any(char::is_control)
    }
}

/// Those entries that are kept, as many as fit into a frame: `"` and `\` take two bytes each there.
pub fn capped(vms: impl IntoIterator<Item = VmReport>) -> Vec<VmReport> {
    let mut left = VMS_BYTES_MAX;
    let fits = |vm: &VmReport| {
        let bytes = vm.id.len() + vm.id.matches(['"', '\\']).count() + ENTRY_BYTES;
        let is_room = bytes <= left;
        left = left.saturating_sub(bytes);
        is_room
    };
    vms.into_iter()
        .filter(VmReport::is_sound)
        .take(VMS_ENTRIES_MAX)
        .take_while(fits)
        .collect()
}

/// Whether a server that has welcomed an agent with this version reads entries that are objects.
pub(crate) fn reads_objects(protocol: &str) -> bool {
    let mut parts = protocol.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OBJECTS_SINCE,
        _ => false,
    }
}

impl Serialize for VmReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(memory) = self.memory_resident_mb else {
            return serializer.serialize_str(&self.id);
        };
        let mut entry = serializer.serialize_struct("VmReport", 2)?;
        entry.serialize_field("id", &self.id)?;
        entry.serialize_field("memory_resident_mb", &memory)?;
        entry.end()
    }
}

/// Reads a list: null is none. What is beyond the limit is read and dropped.
pub(crate) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<VmReport>>, D::Error> {
    Ok(Option::<Kept>::deserialize(deserializer)?.map(|kept| kept.0))
}

struct Kept(Vec<VmReport>);

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Kept;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of virtual machines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Kept, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < VMS_ENTRIES_MAX {
            match entries.next_element::<Entry>()? {
                Some(Entry(Some(vm))) if vm.is_sound() => kept.push(vm),
                Some(Entry(_)) => {}
                None => return Ok(Kept(kept)),
            }
        }
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Kept(kept))
    }
}

/// One entry, if it is one.
struct Entry(Option<VmReport>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor).map(Self)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Option<VmReport>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, id: &str) -> Result<Self::Value, E> {
        Ok((id.len() <= VM_ID_BYTES_MAX).then(|| VmReport::named(id)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut vm = None;
        let mut memory = None;
        while let Some(name) = members.next_key::<Name>()? {
            match name {
                Name::Id => vm = members.next_value::<Scalar>()?.text.map(VmReport::named),
                Name::Memory => memory = members.next_value::<Scalar>()?.number,
                Name::Other => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(vm.map(|vm| VmReport {
            memory_resident_mb: memory,
            ..vm
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[derive(Deserialize)]
enum Name {
    #[serde(rename = "id")]
    Id,
    #[serde(rename = "memory_resident_mb")]
    Memory,
    #[serde(other)]
    Other,
}

/// A member's value: a text of an id's length, or a whole number; neither if it is anything else.
#[derive(Default)]
struct Scalar {
    text: Option<String>,
    number: Option<u64>,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar {
            text: (text.len() <= VM_ID_BYTES_MAX).then(|| text.to_owned()),
            number: None,
        })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar {
            text: None,
            number: Some(number),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Scalar, A::Error> {
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar, E> {
        Ok(Scalar::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
        Ok(Scalar::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
        Ok(Scalar::default())
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::default())
    }
}

const _: () = assert!(
    VM_ID_BYTES_MAX <= FACT_CHARS_MAX,
    "older servers would cut ids"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Heartbeat;
    use crate::frame::{AgentFrame, PROTOCOL_VERSION, read_agent_frame};
    use crate::limits::{FACT_ENTRIES_MAX, FRAME_BYTES_MAX};

    fn vm(id: &str, memory: impl Into<Option<u64>>) -> VmReport {
        VmReport {
            id: id.to_owned(),
            memory_resident_mb: memory.into(),
        }
    }

    fn read(vms: &str) -> Option<Vec<VmReport>> {
        let text = format!(r#"{{"type":"heartbeat","cpu_count":7,"vms":{vms},"boot_id":"b"}}"#);
        let frame = read_agent_frame(&text).unwrap();
        let by_enum: AgentFrame = serde_json::from_str(&text).unwrap();
        assert_eq!(frame, by_enum, "{text}");
        let AgentFrame::Heartbeat(heartbeat) = frame else {
            panic!("not a heartbeat: {text}");
        };
        let boot = heartbeat.boot_id.as_deref();
        assert_eq!((heartbeat.cpu_count, boot), (Some(7), Some("b")), "{text}");
        heartbeat.vms
    }

    #[test]
    fn names_and_objects_are_read_and_a_bad_entry_is_left_out() {
        let long = "x".repeat(VM_ID_BYTES_MAX + 1);
        let longest = "x".repeat(VM_ID_BYTES_MAX);
        let both = format!(r#"["{long}",{{"id":"{long}"}},"{longest}",{{"id":"{longest}"}}]"#);
        let longest = vm(&longest, None);
        for (text, expected) in [
            ("null", None),
            ("[]", Some(vec![])),
            (r#"["a","b"]"#, Some(vec![vm("a", None), vm("b", None)])),
            (
                r#"[{"id":"a","memory_resident_mb":5},"b",{"memory_resident_mb":0,"id":"c"}]"#,
                Some(vec![vm("a", 5), vm("b", None), vm("c", 0)]),
            ),
            (
                r#"[{"id":"a","memory_resident_mb":null,"mood":{"id":[1]}},{"id":"\u0061\"","x":1}]"#,
                Some(vec![vm("a", None), vm("a\"", None)]),
            ),
            // A number that cannot be is as good as none.
            (
                r#"[{"id":"a","memory_resident_mb":-1},{"id":"b","memory_resident_mb":"9"},{"id":"c","memory_resident_mb":1.5},
                    {"id":"d","memory_resident_mb":[{}]},{"id":"e","memory_resident_mb":{"a":[]}}]"#,
                Some(["a", "b", "c", "d", "e"].map(VmReport::named).to_vec()),
            ),
            (
                r#"[1,-1,1.5,true,null,[["a"],{}],{},{"id":null},{"id":7},{"id":["a"]},{"id":{"id":"a"}},{"id":true},"","a\u0000b",
                    {"id":"a\n"},"good"]"#,
                Some(vec![vm("good", None)]),
            ),
            (&both, Some(vec![longest.clone(), longest])),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let many = serde_json::to_string(&vec!["a"; VMS_ENTRIES_MAX + 9]).unwrap();
        assert_eq!(read(&many).map(|vms| vms.len()), Some(VMS_ENTRIES_MAX));
    }

    #[test]
    fn what_is_no_list_and_what_is_torn_is_refused() {
        for vms in ["7", "\"a\"", "{}", "[{\"id\":\"a\"]", "[\"a\",]"] {
            let text = format!(r#"{{"type":"heartbeat","vms":{vms}}}"#);
            assert!(read_agent_frame(&text).is_err(), "{text}");
        }
        let absent = read_agent_frame(r#"{"type":"heartbeat"}"#).unwrap();
        assert_eq!(absent, AgentFrame::Heartbeat(Heartbeat::default()));
    }

    #[test]
    fn an_older_server_is_told_names_and_a_newer_one_all() {
        let vms = (0..100_u64).map(|number| vm(&format!("vm{number}"), number));
        let heartbeat = Heartbeat {
            vms: Some(vms.collect()),
            ..Heartbeat::default()
        };
        let said = |protocol: &str| {
            let frame = AgentFrame::Heartbeat(heartbeat.clone().for_server(protocol));
            serde_json::to_value(frame).unwrap()["vms"].clone()
        };
        for older in ["1.0", "0.9", "1", "", "x.y", "1.x"] {
            // The type as it was.
            let names: Vec<String> = serde_json::from_value(said(older)).unwrap();
            assert_eq!((names.len(), &*names[9]), (FACT_ENTRIES_MAX, "vm9"));
        }
        for newer in [PROTOCOL_VERSION, "1.1", "1.10", "2.0", "1.1.7"] {
            let all = said(newer);
            assert_eq!(read(&all.to_string()), heartbeat.vms, "{newer}");
        }
        let unknown = AgentFrame::Heartbeat(Heartbeat::default());
        assert!(serde_json::to_value(unknown).unwrap().get("vms").is_none());
    }

    #[test]
    fn the_most_that_is_kept_fits_a_frame() {
        let id = "\"\\".repeat(VM_ID_BYTES_MAX / 2);
        let vms = capped(vec![vm(&id, u64::MAX); VMS_ENTRIES_MAX * 2]);
        assert!(vms.len() > 1_000, "{}", vms.len());
        let frame = AgentFrame::Heartbeat(Heartbeat {
            vms: Some(vms),
            ..Heartbeat::default()
        });
        let bytes = serde_json::to_string(&frame).unwrap().len();
        assert!(bytes < FRAME_BYTES_MAX, "{bytes}");
        let many = capped(vec![vm("a", 1); VMS_ENTRIES_MAX + 1]);
        assert_eq!(many.len(), VMS_ENTRIES_MAX);
        assert_eq!(capped([vm("", 1), vm("b\u{7}", 1), vm("c", 1)]).len(), 1);
    }
}
