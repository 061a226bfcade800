use crate::predictor::{Predictor, StepStream};
use crate::workload::{event, finished, message, started};
use eoscast_proto::predictor::v1 as pb;

/// Requests that one message tells of.
const REQUESTS_A_GROUP: u64 = 1_000;

/// Memory of the process that lies in the machine, in bytes.
pub(crate) fn resident(predictor: &Predictor) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", predictor.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn ids(group: u64) -> impl Iterator<Item = String> {
    (0..REQUESTS_A_GROUP).map(move |i| format!("request-{group}-{i}"))
}

fn step(id: &str, step: u32) -> pb::StepEvent {
    pb::StepEvent { sketch: vec![0.25; 64], ..event(id, step) }
}

/// Groups of one worker: as many requests as it may have live.
const GROUPS_A_WORKER: u64 = 8;

/// Starts the requests of each group, with a first step in a message of its own; ends them in a third one if `end`.
async fn play(predictor: &Predictor, streams: &mut Vec<StepStream>, groups: std::ops::Range<u64>, end: bool) {
    for group in groups {
        // Requests that end leave their places to others of the same worker.
        let worker = if end { 0 } else { group / GROUPS_A_WORKER };
        if streams.len() as u64 == worker {
            streams.push(predictor.stream().await);
        }
        let stream = &mut streams[worker as usize];
        let mut sequence_number = group * 3;
        let mut next = || {
            sequence_number += 1;
            message(&format!("w{worker}"), sequence_number)
        };
        let arrivals = pb::StreamStepsRequest { started: ids(group).map(|id| started(&id)).collect(), ..next() };
        let steps = pb::StreamStepsRequest { events: ids(group).map(|id| step(&id, 1)).collect(), ..next() };
        let ends = ids(group).map(|id| finished(&id, 2, pb::FinishReason::Stop)).collect();
        let ends = end.then(|| pb::StreamStepsRequest { events: ends, ..next() });
        for message in [Some(arrivals), Some(steps), ends].into_iter().flatten() {
            assert!(stream.send(message).await);
        }
        stream.acknowledged(sequence_number).await;
    }
}

#[tokio::test]
async fn a_live_request_takes_four_kibibytes_of_the_process_at_most() {
    const MORE: u64 = 20;
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut streams = vec![];
    // What messages of this size need is there after some of them.
    play(&predictor, &mut streams, 0..4, false).await;
    let before = resident(&predictor);
    play(&predictor, &mut streams, 4..4 + MORE, false).await;
    let each = resident(&predictor).saturating_sub(before) / (MORE * REQUESTS_A_GROUP);
    assert!((1_000..=4_096).contains(&each), "{each} bytes a live request");
}

#[tokio::test]
async fn finished_requests_leave_no_memory_behind() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut streams = vec![];
    // By then the windows of outcomes are full.
    play(&predictor, &mut streams, 0..12, true).await;
    let before = resident(&predictor);
    play(&predictor, &mut streams, 12..36, true).await;
    let more = resident(&predictor).saturating_sub(before);
    assert!(more <= 24 * REQUESTS_A_GROUP * 64, "{more} bytes more after 24,000 requests");
}
