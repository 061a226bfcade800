use std::time::Duration;

use eoscast_proto::predictor::v1 as pb;

use crate::predictor::{Predictor, lines};
use crate::workload::{event, message, started};

/// h2 closes a connection that lets too many small frames lie unread; the shared window settings keep that from happening.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_thousand_tiny_messages_survive_a_worker_that_does_not_read() {
    const MESSAGES: u64 = 300_000;
    const STALL: Duration = Duration::from_secs(3);
    let data = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(data.path(), &["--metrics", "off", "--fsync", "never"]);
    let mut stream = predictor.stream().await;
    let sender = stream.sender.clone();
    let sending = tokio::spawn(async move {
        for sequence_number in 1..=MESSAGES {
            let request_id = format!("r{}", sequence_number / 1000);
            let mut message = message("w", sequence_number);
            if sequence_number == 1 || sequence_number % 1000 == 0 {
                message.started.push(pb::RequestStarted { max_tokens: 1000, ..started(&request_id) });
            }
            message.events.push(event(&request_id, (sequence_number % 1000) as u32 + 1));
            assert!(sender.send(message).await.is_ok(), "the stream broke at {sequence_number}");
        }
    });
    tokio::time::sleep(STALL).await;
    stream.acknowledged(100_000).await;
    tokio::time::sleep(STALL).await;
    stream.acknowledged(MESSAGES).await;
    sending.await.unwrap();
    assert!(predictor.terminate());
    assert_eq!(lines(data.path(), "steps-").len() as u64, MESSAGES);
}
