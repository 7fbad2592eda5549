//! Output of any size: live, inside the result, or in parts.

use std::time::Duration;

use fleetwright_protocol::frame::{CommandFrame, Section, Stream};
use fleetwright_protocol::limits::{
    OUTPUT_HEAD_BYTES_MAX, OUTPUT_PART_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX,
};
use fleetwright_protocol::{AgentFrame, Open, ServerFrame};
use sha2::{Digest, Sha256};

use crate::harness::{Agent, Host, script_command, wait};

/// Takes the next part, checks its place, and returns it.
fn part(agent: &mut Agent) -> (Open<Stream>, Open<Section>, u64, Vec<u8>) {
    agent.expect("output_part", |frame| match frame {
        AgentFrame::OutputPart {
            stream,
            section,
            offset,
            data,
            ..
        } => Some((*stream, *section, *offset, data.clone())),
        _ => None,
    })
}

fn ack_part(
    agent: &Agent,
    command: &CommandFrame,
    stream: Open<Stream>,
    section: Open<Section>,
    offset: u64,
) {
    agent.send(ServerFrame::AckPart {
        command_id: command.command_id,
        attempt: command.attempt,
        stream,
        section,
        offset,
    });
}

#[test]
fn output_comes_live_while_the_script_runs() {
    let host = Host::new();
    let mut agent = host.start();
    let go = host.path("go");
    let run = script_command(&format!(
        "echo early; while [ ! -e {} ]; do sleep 0.05; done",
        go.display()
    ));
    agent.command(&run);
    match agent.live_output() {
        AgentFrame::CommandOutput {
            command_id,
            stream,
            offset,
            data,
        } => {
            assert_eq!(
                (command_id, stream, offset),
                (run.command_id, Stream::Stdout.into(), 0)
            );
            assert_eq!(data, b"early\n");
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(go, "").unwrap();
    assert_eq!(agent.finished(&run).stdout.head, b"early\n");
}

/// The number of the line is its content, so every kept byte has one right value.
#[test]
fn a_long_output_travels_in_parts_and_goes_on_after_a_reconnect() {
    let host = Host::new();
    let mut agent = host.start();
    let lines = 400_000;
    let run = script_command(&format!("seq -w 1 {lines}"));
    let all: Vec<u8> = (1..=lines)
        .flat_map(|line| format!("{line:06}\n").into_bytes())
        .collect();
    agent.command(&run);
    let mut head = Vec::new();
    while head.len() < OUTPUT_HEAD_BYTES_MAX {
        let (stream, section, offset, data) = part(&mut agent);
        assert_eq!(
            (stream, section, offset),
            (
                Stream::Stdout.into(),
                Section::Head.into(),
                head.len() as u64
            )
        );
        assert!(data.len() <= OUTPUT_PART_BYTES_MAX);
        if head.len() == OUTPUT_PART_BYTES_MAX {
            // Not acknowledged: it must come again on the next connection.
            agent.reconnect();
            let again = part(&mut agent);
            assert_eq!((again.2, again.3), (offset, data.clone()));
        }
        head.extend(data);
        ack_part(&agent, &run, stream, section, head.len() as u64);
    }
    let mut tail = Vec::new();
    while tail.len() < OUTPUT_TAIL_BYTES_MAX {
        let (stream, section, offset, data) = part(&mut agent);
        assert_eq!((section, offset), (Section::Tail.into(), tail.len() as u64));
        tail.extend(data);
        ack_part(&agent, &run, stream, section, tail.len() as u64);
    }
    let outcome = agent.finished(&run);
    assert!(head == all[..OUTPUT_HEAD_BYTES_MAX]);
    assert!(tail == all[all.len() - OUTPUT_TAIL_BYTES_MAX..]);
    assert!(outcome.stdout.in_parts && outcome.stdout.head.is_empty());
    assert_eq!(outcome.stdout.total_bytes, all.len() as u64);
    assert_eq!(outcome.stdout.sha256, hex::encode(Sha256::digest(&all)));
    assert_eq!(
        outcome.stdout.head_bytes + outcome.stdout.tail_bytes,
        (head.len() + tail.len()) as u64
    );
}

#[test]
fn a_result_whose_kept_output_is_gone_is_still_told() {
    let host = Host::new();
    let mut agent = host.start();
    let run = script_command("head -c 200000 /dev/zero");
    agent.command(&run);
    let (stream, section, _, data) = part(&mut agent);
    std::fs::remove_dir_all(host.run_folder(&run)).unwrap();
    ack_part(&agent, &run, stream, section, data.len() as u64 / 2);
    let outcome = agent.finished(&run);
    assert!(
        !outcome.stdout.in_parts && outcome.message.contains("lost"),
        "{}",
        outcome.message
    );
    assert_eq!(outcome.stdout.total_bytes, 200_000);
}

/// 128 MiB through the supervisor; what counts is that memory does not follow.
#[test]
fn memory_stays_flat_whatever_a_script_prints() {
    const TOTAL: u64 = 128 * 1024 * 1024;
    let host = Host::new();
    let mut agent = host.start();
    let stay = host.path("stay");
    std::fs::write(&stay, "").unwrap();
    let run = script_command(&format!(
        "head -c {TOTAL} /dev/zero; touch {0}.printed; while [ -e {0} ]; do sleep 0.05; done",
        stay.display()
    ));
    agent.command(&run);
    wait("all is printed", || host.path("stay.printed").exists());
    let marker = run.command_id.to_string();
    let peak_kb = fleetwright_agent::procfs::with_variable("FLEETWRIGHT_COMMAND_ID", &marker)
        .iter()
        .filter_map(|process| std::fs::read_to_string(format!("/proc/{}/status", process.pid)).ok())
        .filter(|status| status.contains("fleetwright"))
        .filter_map(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:"))?
                .trim()
                .to_owned();
            line.strip_suffix(" kB")?.trim().parse::<u64>().ok()
        })
        .max()
        .unwrap();
    // Two rings of a mebibyte, buffers, and the program itself (large in a debug build).
    assert!(peak_kb < 40_000, "the supervisor took {peak_kb} kB");
    std::fs::remove_file(stay).unwrap();
    loop {
        let (stream, section, offset, data) = part(&mut agent);
        let held = offset + data.len() as u64;
        ack_part(&agent, &run, stream, section, held);
        if section == Section::Tail && held == OUTPUT_TAIL_BYTES_MAX as u64 {
            break;
        }
    }
    let outcome = agent.finished(&run);
    assert_eq!(outcome.stdout.total_bytes, TOTAL);
    assert!(outcome.duration_ms < Duration::from_secs(300).as_millis() as u64);
}
