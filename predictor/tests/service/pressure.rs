use std::sync::Arc;
use std::time::Duration;

use eoscast_proto::transport::MOST_UNACKNOWLEDGED;
use tokio::sync::Semaphore;

use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::predictor::{Predictor, lines};
use crate::workload::{event, message, started};

/// A worker that never reads would have the predictor keep all estimates.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_reads_nothing_loses_its_stream_before_it_takes_much_memory() {
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--enable-eos-prob-logging", "false"]);
    let mut honest = predictor.stream().await;
    honest.send(pb::StreamStepsRequest { started: vec![started("a")], ..message("honest", 1) }).await;
    honest.acknowledged(1).await;
    #[expect(clippy::disallowed_methods, reason = "a worker whose window is as small as it can be")]
    let endpoint = Endpoint::from_shared(format!("http://{}", predictor.addr)).unwrap().initial_stream_window_size(1);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = PredictorServiceClient::new(endpoint.connect().await.unwrap());
    let _unread = client.stream_steps(ReceiverStream::new(receiver)).await.unwrap();
    let ids: Vec<String> = (0..2_000).map(|i| format!("r{i}")).collect();
    let starts = ids.iter().map(|id| started(id)).collect();
    sender.send(pb::StreamStepsRequest { started: starts, ..message("unread", 1) }).await.unwrap();
    let mut step = 0;
    let sent = loop {
        step += 1;
        let events = ids.iter().map(|id| event(id, step)).collect();
        let next = pb::StreamStepsRequest { events, ..message("unread", u64::from(step) + 1) };
        // Once the stream is cut nobody reads: what is sent waits in the connection.
        match tokio::time::timeout(Duration::from_secs(5), sender.send(next)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break step,
        }
        assert!(step < 500, "the predictor takes whatever comes");
    };
    assert!(sent > 20, "cut after {sent} messages");
    let warning = predictor.wait_for_log("does not read");
    assert!(warning.contains("unread"), "{warning}");
    honest.send(pb::StreamStepsRequest { events: vec![event("a", 1)], ..message("honest", 2) }).await;
    honest.estimate_at(1).await;
}

/// h2 closes a connection that lets too many small frames lie unread; the shared window settings keep that from happening to
/// workers that have no more on their way than the contract allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn three_hundred_thousand_tiny_messages_survive_readers_that_stall() {
    const MESSAGES: u64 = 300_000;
    /// The others carry nothing, which makes them as small as messages get.
    const STEP_EVERY: u64 = 10;
    const STALL: Duration = Duration::from_secs(1);
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--fsync", "never"]);
    let mut stream = predictor.stream_of(1).await;
    let sender = stream.sender.clone();
    let window = Arc::new(Semaphore::new(MOST_UNACKNOWLEDGED));
    let open = window.clone();
    let sending = tokio::spawn(async move {
        for sequence_number in 1..=MESSAGES {
            let mut message = message("w", sequence_number);
            let step = (sequence_number % 1_000 / STEP_EVERY) as u32;
            if sequence_number.is_multiple_of(STEP_EVERY) {
                let request_id = format!("r{}", sequence_number / 1_000);
                message.started.extend((step == 0).then(|| started(&request_id)));
                message.events.push(event(&request_id, step + 1));
            }
            open.acquire().await.unwrap().forget();
            assert!(sender.send(message).await.is_ok(), "the stream broke at {sequence_number}");
            // Lets the connection put it into a frame of its own, as it would between the steps of an engine.
            tokio::task::yield_now().await;
        }
    });
    let mut acknowledged = 0;
    for stall_after in [1, 20_000, 100_000, 200_000, MESSAGES] {
        while acknowledged < stall_after {
            let now = stream.acknowledged(acknowledged + 1).await.acknowledged_sequence_number;
            window.add_permits((now - acknowledged) as usize);
            acknowledged = now;
        }
        predictor.signal("STOP");
        tokio::time::sleep(STALL).await;
        predictor.signal("CONT");
        // Nor does the worker read for a while.
        tokio::time::sleep(STALL).await;
    }
    sending.await.unwrap();
    assert!(predictor.terminate());
    assert_eq!(lines(data.path(), "steps-").len() as u64, MESSAGES / STEP_EVERY - 99);
}
