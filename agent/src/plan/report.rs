//! What to tell the server of a plan: its own result, and one line per step. Pure.

use fleetwright_protocol::Outcome;
use fleetwright_protocol::limits::DETAILS_BYTES_MAX;
use fleetwright_protocol::outcome::FailureReason;
use serde_json::{Map, Value, json};

use super::decide::{Contents, failure, is_tolerated};
use super::progress::{CheckResult, PlanProgress, StepResult, StepState};

/// How much is said of each step. A plan of a thousand steps gets a line each, one of ten gets all there is.
#[derive(Clone, Copy)]
struct Room {
    tail_bytes: usize,
    message_chars: usize,
    name_chars: usize,
    details: bool,
}

/// From all there is to what always fits: a thousand steps with short names and nothing else are below 200 KiB.
const ROOMS: [Room; 5] = [
    Room {
        tail_bytes: TAIL_BYTES_MAX,
        message_chars: 1_000,
        name_chars: 120,
        details: true,
    },
    Room {
        tail_bytes: 400,
        message_chars: 400,
        name_chars: 120,
        details: true,
    },
    Room {
        tail_bytes: 0,
        message_chars: 200,
        name_chars: 120,
        details: false,
    },
    Room {
        tail_bytes: 0,
        message_chars: 40,
        name_chars: 40,
        details: false,
    },
    Room {
        tail_bytes: 0,
        message_chars: 0,
        name_chars: 12,
        details: false,
    },
];
/// Kept of each output of a step: the last words of a script, some forty lines.
pub const TAIL_BYTES_MAX: usize = 4 * 1024;
/// Steps named in the message; the rest is counted.
const NAMED_MAX: usize = 5;

/// The outcome, without output. `details` is `{"steps": [{"name", "operation_type", "status", …}], "health_check"?}`
/// with `status` one of `succeeded failed skipped not_run rolled_back`; of a single operation its own details, with
/// `health_check` beside them.
pub fn outcome(plan: &Contents, progress: &PlanProgress) -> Outcome {
    let mut outcome = verdict(plan, progress);
    outcome.changed = progress.steps.iter().enumerate().any(|(step, standing)| {
        let changed = matches!(standing, StepState::Ended(result) if result.changed);
        changed && !is_rolled_back(progress, step)
    });
    outcome.details = if plan.single {
        single_details(progress)
    } else {
        Some(details(plan, progress))
    };
    outcome.duration_ms = duration_ms(progress);
    outcome
}

/// Of a plan that is refused before it begins: nothing was run, and the step that is to blame says why.
pub fn refused(plan: &Contents, step: usize, reason: FailureReason, why: &str) -> Outcome {
    let mut outcome = Outcome::failed(
        reason,
        format!("{}; nothing was run", blame(plan, step, why)),
    );
    let mut shown = details(plan, &PlanProgress::new(plan.steps.len()));
    if let Some(entry) = shown.pointer_mut(&format!("/steps/{step}")) {
        entry["reason"] = json!(reason);
        entry["message"] = json!(why);
    }
    outcome.details = Some(shown);
    outcome
}

fn verdict(plan: &Contents, progress: &PlanProgress) -> Outcome {
    if let Some(failed) = failure(plan, progress)
        && let Some(result) = progress.ended(failed)
    {
        let reason = result.reason.unwrap_or(FailureReason::AgentError);
        let said = if plan.single {
            result.message.clone()
        } else {
            blame(plan, failed, &result.message)
        };
        return Outcome {
            exit_code: result.exit_code,
            signal: result.signal,
            ..Outcome::failed(reason, said + &rollback_words(progress))
        };
    }
    if let Some((reason, message)) = &progress.cut {
        return Outcome::failed(*reason, message);
    }
    if let Some(check) = progress.check.as_ref().filter(|check| !check.passed) {
        return Outcome {
            exit_code: check.exit_code,
            ..Outcome::failed(FailureReason::ExitCode, &check.message)
        };
    }
    let message = match progress.ended(0) {
        Some(result) if plan.single => result.message.clone(),
        Some(_) | None => success_words(plan, progress),
    };
    let exit_code = progress.ended(0).filter(|_| plan.single);
    Outcome {
        exit_code: exit_code.and_then(|result| result.exit_code),
        message,
        ..Outcome::succeeded(false)
    }
}

fn blame(plan: &Contents, step: usize, why: &str) -> String {
    let name = plan.steps.get(step).map_or("", |step| step.name.as_str());
    format!("step {} ({name}): {why}", step + 1)
}

fn rollback_words(progress: &PlanProgress) -> String {
    let ended = progress
        .saved
        .iter()
        .filter(|saved| saved.is_of_a_file())
        .filter_map(|saved| saved.restored.as_ref());
    let (good, bad): (Vec<_>, Vec<_>) = ended.partition(|trouble| trouble.is_none());
    let mut words = String::new();
    if !good.is_empty() {
        words = format!("; {} of the files it deployed put back", good.len());
    }
    if let Some(Some(trouble)) = bad.first() {
        words += &format!("; {} NOT put back: {trouble}", bad.len());
    }
    words
}

fn success_words(plan: &Contents, progress: &PlanProgress) -> String {
    let mut tolerated = Vec::new();
    let mut skipped = 0;
    for (step, standing) in progress.steps.iter().enumerate() {
        match standing {
            StepState::Ended(result) if !result.succeeded => {
                tolerated.push(plan.steps.get(step).map_or("", |step| step.name.as_str()));
            }
            StepState::Skipped { .. } => skipped += 1,
            StepState::Ended(_) | StepState::Waiting | StepState::Begun { .. } => {}
        }
    }
    let mut words = format!("{} steps", progress.steps.len());
    if skipped > 0 {
        words += &format!(", {skipped} skipped");
    }
    if !tolerated.is_empty() {
        let named: Vec<&str> = tolerated.iter().copied().take(NAMED_MAX).collect();
        words += &format!(", {} failed and may: {}", tolerated.len(), named.join(", "));
        if tolerated.len() > NAMED_MAX {
            words += ", …";
        }
    }
    words
}

fn single_details(progress: &PlanProgress) -> Option<Value> {
    let own = progress.ended(0).and_then(|result| result.details.clone());
    let Some(check) = &progress.check else {
        return own;
    };
    let mut fields = match own {
        Some(Value::Object(fields)) => fields,
        Some(_) | None => Map::new(),
    };
    let without = Value::Object(fields.clone());
    fields.insert("health_check".to_owned(), check_details(check));
    let all = Value::Object(fields);
    Some(if fits(&all) { all } else { without })
}

fn details(plan: &Contents, progress: &PlanProgress) -> Value {
    let mut shown = Value::Null;
    for room in ROOMS {
        let steps: Vec<Value> = (0..plan.steps.len())
            .map(|step| step_details(plan, progress, step, room))
            .collect();
        shown = json!({ "steps": steps });
        if plan.options.dry_run {
            shown["dry_run"] = json!(true);
        }
        if let Some(check) = &progress.check {
            shown["health_check"] = check_details(check);
        }
        if fits(&shown) {
            break;
        }
    }
    shown
}

fn fits(details: &Value) -> bool {
    details.to_string().len() <= DETAILS_BYTES_MAX
}

fn step_details(plan: &Contents, progress: &PlanProgress, step: usize, room: Room) -> Value {
    let Some(named) = plan.steps.get(step) else {
        return Value::Null;
    };
    let mut shown = json!({
        "name": cut(&named.name, room.name_chars),
        "operation_type": named.operation.operation_type(),
        "status": status(progress, step),
    });
    match progress.steps.get(step) {
        Some(StepState::Skipped { why }) if room.message_chars > 0 => {
            shown["message"] = json!(cut(why, room.message_chars));
        }
        Some(StepState::Ended(result)) => {
            add_result(&mut shown, result, room);
            if !result.succeeded && is_tolerated(plan, step, result) {
                shown["tolerated"] = json!(true);
            }
            let troubles = troubles(progress, step);
            if !troubles.is_empty() {
                shown["rollback"] = json!(cut(&troubles, room.message_chars));
            }
        }
        Some(StepState::Waiting | StepState::Skipped { .. } | StepState::Begun { .. }) | None => {}
    }
    shown
}

fn add_result(shown: &mut Value, result: &StepResult, room: Room) {
    shown["changed"] = json!(result.changed);
    shown["duration_ms"] = json!(result.duration_ms);
    if let Some(reason) = result.reason {
        shown["reason"] = json!(reason);
    }
    if let Some(code) = result.exit_code {
        shown["exit_code"] = json!(code);
    }
    if let Some(signal) = result.signal {
        shown["signal"] = json!(signal);
    }
    if !result.message.is_empty() && room.message_chars > 0 {
        shown["message"] = json!(cut(&result.message, room.message_chars));
    }
    for (key, tail) in [
        ("stdout_tail", &result.stdout_tail),
        ("stderr_tail", &result.stderr_tail),
    ] {
        let tail = last(tail, room.tail_bytes);
        if !tail.is_empty() {
            shown[key] = json!(tail);
        }
    }
    if let Some(details) = result.details.as_ref().filter(|_| room.details) {
        shown["details"] = details.clone();
    }
}

fn check_details(check: &CheckResult) -> Value {
    json!({
        "status": if check.passed { "succeeded" } else { "failed" },
        "tries": check.tries,
        "exit_code": check.exit_code,
        "message": check.message,
        "duration_ms": check.duration_ms,
        "output_tail": check.output_tail,
    })
}

fn status(progress: &PlanProgress, step: usize) -> &'static str {
    match progress.steps.get(step) {
        Some(StepState::Ended(_)) if is_rolled_back(progress, step) => "rolled_back",
        Some(StepState::Ended(result)) if result.succeeded => "succeeded",
        // Begun and never heard of again: what is not known to have succeeded has not.
        Some(StepState::Ended(_) | StepState::Begun { .. }) => "failed",
        Some(StepState::Skipped { .. }) => "skipped",
        Some(StepState::Waiting) | None => "not_run",
    }
}

/// A step that succeeded, and whose every file is what it was.
fn is_rolled_back(progress: &PlanProgress, step: usize) -> bool {
    let mut restored = progress
        .saved
        .iter()
        .filter(|saved| saved.step == step)
        .peekable();
    restored.peek().is_some()
        && restored.all(|saved| saved.restored == Some(None))
        && progress
            .ended(step)
            .is_some_and(|result| result.succeeded || result.changed)
}

fn troubles(progress: &PlanProgress, step: usize) -> String {
    let of_step = progress.saved.iter().filter(|saved| saved.step == step);
    let words = of_step.filter_map(|saved| saved.restored.clone().flatten());
    words.collect::<Vec<_>>().join("; ")
}

fn duration_ms(progress: &PlanProgress) -> u64 {
    let steps = (0..progress.steps.len()).filter_map(|step| progress.ended(step));
    let check = progress.check.as_ref().map_or(0, |check| check.duration_ms);
    steps.fold(check, |sum, result| sum.saturating_add(result.duration_ms))
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The end of a text, in whole characters.
fn last(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
