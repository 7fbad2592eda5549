//! Two machines with one identity: shown side by side, and decided between.

use serde_json::{Value, json};

use super::find::resolve;
use crate::failure::Failure;
use crate::output::{self, Column};
use crate::prompt;
use crate::session::Session;
use crate::table::Cell;

/// What a person compares: names of the columns, and of the fields of a side.
const COLUMNS: [Column; 7] = [
    Column {
        title: "MACHINE",
        cell: |side| output::plain(side, "side"),
    },
    Column {
        title: "ADDRESS",
        cell: |side| output::plain(side, "address"),
    },
    Column {
        title: "BOOT ID",
        cell: |side| output::plain(side, "boot_id"),
    },
    Column {
        title: "MACHINE ID",
        cell: |side| output::plain(side, "machine_id"),
    },
    Column {
        title: "SESSION",
        cell: |side| output::plain(side, "session"),
    },
    Column {
        title: "SEEN",
        cell: |side| output::plain(side, "seen_at"),
    },
    Column {
        title: "",
        cell: |side| Cell::plain(output::field(side, "fate")),
    },
];

/// A host for people: its fields, and below them the two machines that were met with its identity.
pub fn show(session: &Session, host: &Value) -> Result<(), Failure> {
    if !session.is_for_people() {
        return output::item(session, host);
    }
    let mut plain = host.clone();
    let conflict = plain
        .as_object_mut()
        .and_then(|fields| fields.remove("conflict"))
        .filter(Value::is_object);
    output::item(session, &plain)?;
    let Some(conflict) = conflict else {
        return Ok(());
    };
    output::line("")?;
    let found = output::field(&conflict, "kind").replace('_', " ");
    let at = output::field(&conflict, "detected_at");
    output::line(&format!("two machines share its identity ({found}, {at}):"))?;
    output::items(session, &sides(&conflict), &COLUMNS)
}

pub fn unlock(session: &Session, host: &str, keep: Option<String>) -> Result<(), Failure> {
    let path = format!("/hosts/{}", resolve(session, host)?);
    let found = session.client.get(&path)?;
    let conflict = found.get("conflict").filter(|found| found.is_object());
    if let Some(conflict) = conflict
        && session.is_for_people()
    {
        output::items(session, &sides(conflict), &COLUMNS)?;
    }
    let keep = match keep {
        Some(keep) => Some(keep),
        None if conflict.is_some_and(|conflict| conflict["kept"].is_null()) => Some(asked()?),
        None => None,
    };
    let question = match &keep {
        Some(keep) => format!(
            "Keep the {keep} machine as {host}? The other one is refused, and must enroll anew."
        ),
        None => format!("Unlock {host}?"),
    };
    prompt::confirm(session, &question)?;
    let body = json!({ "keep": keep });
    session.client.post(&format!("{path}/unlock"), &body)?;
    output::note(session, &format!("unlocked {host}"))
}

fn asked() -> Result<String, Failure> {
    let answer = prompt::text("Which machine is the host (--keep earlier or --keep later)?")?;
    match answer.trim() {
        known @ ("earlier" | "later") => Ok(known.to_owned()),
        _ => Err(Failure::Input("say earlier or later".to_owned())),
    }
}

fn sides(conflict: &Value) -> Vec<Value> {
    let kept = output::field(conflict, "kept");
    let sides = ["earlier", "later"].into_iter().map(|name| {
        let mut side = conflict[name].clone();
        side["side"] = json!(name);
        side["fate"] = json!(match kept.as_str() {
            "" => "",
            kept if kept == name => "kept",
            _ => "refused",
        });
        side
    });
    sides.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sides_say_what_became_of_them() {
        let side = json!({"address": "10.0.0.1"});
        let fates = |kept: Value| -> Vec<String> {
            let conflict = json!({"earlier": side, "later": side, "kept": kept});
            let sides = sides(&conflict);
            assert_eq!(sides[0]["side"], "earlier");
            sides
                .iter()
                .map(|side| output::field(side, "fate"))
                .collect()
        };
        assert_eq!(fates(Value::Null), ["", ""]);
        assert_eq!(fates(json!("later")), ["refused", "kept"]);
    }
}
