//! Plans and verdicts over packages, as tables.

use super::super::apt::Apt;
use super::super::family::Offer;
use super::*;

fn goal(change: Change, purge: bool) -> Goal<'static> {
    Goal {
        change,
        purge,
        family: &Apt,
    }
}

fn wanted(version: Option<&str>) -> Wanted {
    Wanted {
        name: "a".to_owned(),
        version: version.map(str::to_owned),
    }
}

fn installed(version: &str) -> State {
    State::Installed {
        versions: vec![version.to_owned()],
    }
}

fn remains() -> State {
    State::Remains {
        version: "1".to_owned(),
    }
}

fn broken() -> State {
    State::Broken {
        version: "1".to_owned(),
        what: "half configured",
    }
}

#[test]
fn a_goal_is_met_by_the_right_states_only() {
    let (install, remove) = (Change::Install, Change::Remove);
    for (change, purge, version, state, met) in [
        (install, false, None, installed("1"), true),
        (install, false, Some("1"), installed("1"), true),
        (install, false, Some("2"), installed("1"), false),
        (install, false, None, State::Absent, false),
        (install, false, None, remains(), false),
        (install, false, None, broken(), false),
        (remove, false, None, State::Absent, true),
        (remove, true, None, State::Absent, true),
        (remove, false, None, remains(), true),
        (remove, true, None, remains(), false),
        (remove, false, None, broken(), false),
        (remove, false, None, installed("1"), false),
        (remove, false, Some("1"), installed("1"), false),
        (remove, false, Some("2"), installed("1"), true),
    ] {
        let goal = goal(change, purge);
        assert_eq!(
            goal.is_met(&wanted(version), &state),
            met,
            "{change:?} purge {purge} {version:?} {state:?}"
        );
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let goal = goal(Change::Install, false);
    let refused = |task| matches!(task, Task::Refuse(_));
    let offer = Offer {
        preferred: "2".to_owned(),
        versions: vec!["2".to_owned(), "1".to_owned()],
    };
    let nothing = Offers::new();
    let offers = Offers::from([("a".to_owned(), offer)]);
    let task = |version, offers| goal.task(&wanted(version), &State::Absent, offers);
    assert!(refused(task(None, Err("no index"))));
    assert!(refused(task(None, Ok(&nothing))));
    assert!(refused(task(Some("3"), Ok(&offers))));
    for (version, expected) in [(None, "2"), (Some("1"), "1")] {
        let expected = Some(expected.to_owned());
        assert_eq!(task(version, Ok(&offers)), Task::Go { expected });
    }
    let kept = goal.task(&wanted(None), &installed("1"), Err("no index"));
    assert_eq!(kept, Task::Keep);
}

#[test]
fn each_change_has_its_word() {
    let (install, remove) = (Change::Install, Change::Remove);
    for (change, purge, before, after, status) in [
        (
            install,
            false,
            State::Absent,
            installed("1"),
            Status::Installed,
        ),
        (install, false, remains(), installed("1"), Status::Installed),
        (install, false, broken(), installed("1"), Status::Installed),
        (
            install,
            false,
            installed("1.9"),
            installed("1.10"),
            Status::Upgraded,
        ),
        (
            install,
            false,
            installed("1.10"),
            installed("1.9"),
            Status::Downgraded,
        ),
        (
            install,
            false,
            installed("1"),
            installed("1"),
            Status::Unchanged,
        ),
        (install, false, State::Absent, broken(), Status::Failed),
        (install, false, State::Absent, State::Absent, Status::Failed),
        (
            remove,
            false,
            installed("1"),
            State::Absent,
            Status::Removed,
        ),
        (remove, false, installed("1"), remains(), Status::Removed),
        (remove, true, installed("1"), remains(), Status::Failed),
        (remove, true, remains(), State::Absent, Status::Removed),
        (remove, false, State::Absent, State::Absent, Status::Absent),
        (
            remove,
            false,
            installed("1"),
            installed("1"),
            Status::Failed,
        ),
    ] {
        let report = goal(change, purge).report(&wanted(None), &before, &after, None);
        assert_eq!(report.status, status, "{change:?} {before:?} {after:?}");
        assert_eq!(report.status == Status::Failed, report.message.is_some());
    }
}
