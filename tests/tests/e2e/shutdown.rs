//! SIGTERM: health says so, running requests end, both processes exit cleanly.

use std::time::Duration;

use eoscast_pair::client::{chat, generate};
use eoscast_pair::log;
use eoscast_pair::pair::{Pair, PairOptions, connect};
use eoscast_pair::prompts::PROMPTS;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::until;

async fn health(client: &mut HealthClient<tonic::transport::Channel>) -> ServingStatus {
    let request = HealthCheckRequest { service: "eoscast.worker.v1.WorkerService".into() };
    client.check(request).await.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_stop_finishes_what_runs_and_refuses_the_rest() {
    let mut pair = Pair::start(&PairOptions::default()).unwrap();
    let mut checker = HealthClient::new(connect(pair.worker_addr).await.unwrap());
    assert_eq!(health(&mut checker).await, ServingStatus::Serving);
    let mut request = chat("running", PROMPTS[8].1, 1, 300);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let running = tokio::spawn(generate(pair.worker_client().await.unwrap(), request));
    let late = pair.worker_client().await.unwrap();
    let mut observer = pair.worker_client().await.unwrap();
    until("the request runs", async || {
        let loads = observer.get_loads(eoscast_proto::worker::v1::GetLoadsRequest {}).await.unwrap();
        loads.into_inner().load.unwrap().running_requests == 1
    })
    .await;
    pair.worker.terminate().unwrap();
    until("health says so", async || health(&mut checker).await == ServingStatus::NotServing).await;
    let refused = generate(late, chat("late", PROMPTS[0].1, 1, 8)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(running.await.unwrap().unwrap().tokens.len(), 300);
    drop((checker, observer));
    assert!(pair.worker.wait(Duration::from_secs(20)).unwrap().success(), "{}", pair.worker.log());

    pair.predictor.terminate().unwrap();
    assert!(pair.predictor.wait(Duration::from_secs(20)).unwrap().success(), "{}", pair.predictor.log());
    assert_eq!(log::steps(pair.data()).unwrap().len(), 300);
}
