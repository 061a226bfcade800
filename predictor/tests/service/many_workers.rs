//! Many workers at a time, of which some lose their connection and some begin another run.

use std::collections::BTreeMap;

use eoscast_proto::predictor::v1 as pb;
use tokio::task::JoinSet;

use crate::memory::resident;
use crate::predictor::{Predictor, StepStream, lines};
use crate::workload::{EPOCH, Engine};

const WORKERS: usize = 64;
const LIVE: usize = 4;
const REQUESTS: usize = 12;
/// Messages ready to travel; as many as a worker has.
const QUEUED: usize = 16;

/// A request of an estimate or of an event, and its step.
type RequestStep = (String, u32);

/// What the run `epoch` of a worker sends.
fn run(worker: usize, epoch: u64) -> Vec<pb::StreamStepsRequest> {
    let messages = Engine::new(&format!("w{worker}"), LIVE, REQUESTS);
    messages.map(|message| pb::StreamStepsRequest { epoch, ..message }).collect()
}

fn steps<'a>(messages: impl IntoIterator<Item = &'a pb::StreamStepsRequest>) -> Vec<RequestStep> {
    messages.into_iter().flat_map(|m| &m.events).map(|event| (event.request_id.clone(), event.step)).collect()
}

/// What the messages are to be answered with, in this order.
fn asked(messages: &[pb::StreamStepsRequest]) -> Vec<RequestStep> {
    let of_message = |message: &pb::StreamStepsRequest| {
        let arrivals = message.started.iter().map(|started| (started.request_id.clone(), 0));
        let going_on = message.events.iter().filter(|event| event.finish_reason == 0);
        arrivals.chain(going_on.map(|event| (event.request_id.clone(), event.step))).collect::<Vec<_>>()
    };
    messages.iter().flat_map(of_message).collect()
}

fn answered(estimates: Vec<pb::LengthEstimate>) -> Vec<RequestStep> {
    estimates.into_iter().map(|estimate| (estimate.request_id, estimate.step)).collect()
}

/// Plays a run on one stream; each answer and the last acknowledgement are its own.
async fn play(addr: &str, messages: Vec<pb::StreamStepsRequest>) {
    let expected = (messages.len() as u64, asked(&messages));
    let stream = StepStream::open(addr, QUEUED).await;
    for message in messages {
        assert!(stream.send(message).await);
    }
    let (acknowledged, estimates) = stream.half_close().await.rest().await;
    assert_eq!((acknowledged, answered(estimates)), expected);
}

/// Plays a run whose connection breaks after half of it: what is not acknowledged is sent again.
async fn play_with_a_break(addr: &str, messages: Vec<pb::StreamStepsRequest>) {
    let (own, half, last) = (format!("{}-", messages[0].worker_id), messages.len() / 2, messages.len() as u64);
    let mut stream = StepStream::open(addr, QUEUED).await;
    for message in &messages[..half] {
        assert!(stream.send(message.clone()).await);
    }
    let acknowledged = stream.acknowledged(1).await.acknowledged_sequence_number;
    drop(stream);

    let expected = asked(&messages[half..]);
    let stream = StepStream::open(addr, QUEUED).await;
    for message in messages.into_iter().skip(acknowledged as usize) {
        assert!(stream.send(message).await);
    }
    let (acknowledged, estimates) = stream.half_close().await.rest().await;
    let estimates = answered(estimates);
    assert_eq!(acknowledged, last);
    assert!(estimates.iter().all(|(request_id, _)| request_id.starts_with(&own)), "{own} got {estimates:?}");
    // What comes before answers messages that were sent again, some with what held by then.
    assert!(estimates.ends_with(&expected), "{own} asked {expected:?} and got {estimates:?}");
}

/// Plays half of a run; then the worker is killed, and begins the next one with requests of the same names.
async fn play_two_runs(addr: &str, first: Vec<pb::StreamStepsRequest>, second: Vec<pb::StreamStepsRequest>) {
    let last = first.len() as u64;
    let mut stream = StepStream::open(addr, QUEUED).await;
    for message in first {
        assert!(stream.send(message).await);
    }
    assert_eq!(stream.acknowledged(last).await.acknowledged_sequence_number, last);
    drop(stream);
    play(addr, second).await;
}

/// Plays all workers at once. Gives what each run of theirs sent.
async fn play_all(predictor: &Predictor, epoch: u64) -> BTreeMap<(String, u64), Vec<RequestStep>> {
    let (mut playing, mut sent) = (JoinSet::new(), BTreeMap::new());
    for worker in 0..WORKERS {
        let (addr, id, messages) = (predictor.addr.clone(), format!("w{worker}"), run(worker, epoch));
        match worker % 4 {
            0 | 1 => {
                sent.insert((id, epoch), steps(&messages));
                playing.spawn(async move { play(&addr, messages).await });
            }
            2 => {
                sent.insert((id, epoch), steps(&messages));
                playing.spawn(async move { play_with_a_break(&addr, messages).await });
            }
            _ => {
                let (first, second) = (messages[..messages.len() / 2].to_vec(), run(worker, epoch + 1));
                sent.insert((id.clone(), epoch), steps(&first));
                sent.insert((id, epoch + 1), steps(&second));
                playing.spawn(async move { play_two_runs(&addr, first, second).await });
            }
        }
    }
    playing.join_all().await;
    sent
}

#[tokio::test]
async fn sixty_four_workers_get_their_own_answers_and_the_log_has_each_step_once() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off"]);
    let mut sent = play_all(&predictor, EPOCH).await;
    let before = resident(&predictor);
    // Later runs of the same workers.
    for round in 1..=3 {
        sent.extend(play_all(&predictor, EPOCH + 2 * round).await);
    }
    let more = resident(&predictor).saturating_sub(before);
    assert!(more <= 16 << 20, "{more} bytes more after three times as much of the same");
    let listed = predictor.client().await.list_requests(pb::ListRequestsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.requests, [], "all have ended");
    assert!(predictor.terminate());

    let mut logged: BTreeMap<(String, u64), Vec<RequestStep>> = BTreeMap::new();
    for line in lines(data.path(), "steps-") {
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        let number = |field: &str| line[field].as_u64().unwrap();
        let run = (text("worker_id"), number("epoch"));
        logged.entry(run).or_default().push((text("request_id"), number("step") as u32));
    }
    assert_eq!(logged, sent);
}
