//! `health`: asks a service whether it serves, for containers without curl.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context, bail};
use eoscast_proto::transport;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `service` at `address`, which may be one to listen on: prints one line if it serves.
///
/// # Errors
/// It does not serve, or does not answer.
pub fn run(address: &str, service: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = reachable(address);
    runtime.block_on(check(&address, service)).with_context(|| format!("{service} at {address}"))?;
    writeln!(stdout(), "{service} at {address}: serving")?;
    Ok(())
}

async fn check(address: &str, service: &str) -> anyhow::Result<()> {
    let asked = async {
        let channel = transport::endpoint(&format!("http://{address}"))?.connect().await?;
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        anyhow::Ok(HealthClient::new(channel).check(request).await)
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.with_context(|| format!("no answer in {PATIENCE:?}"))?;
    let status = match answer.context("cannot connect")? {
        Ok(answer) => answer.into_inner().status(),
        Err(status) if status.code() == Code::NotFound => bail!("another service answers there"),
        Err(status) => bail!("{}", status.message()),
    };
    if status == ServingStatus::Serving { Ok(()) } else { bail!("not serving") }
}

/// `address` as one to connect to: a service that listens on every address is on this machine's own, too.
fn reachable(address: &str) -> String {
    let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    for everywhere in ["0.0.0.0", "[::]", "*", ""] {
        if let Some(port) = address.strip_prefix(everywhere).filter(|rest| rest.starts_with(':')) {
            return format!("127.0.0.1{port}");
        }
    }
    address.to_owned()
}

#[cfg(test)]
mod tests {
    use eoscast_proto::transport::{Limits, Listener};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;
    use tonic::service::Routes;
    use tonic_health::ServingStatus;
    use tonic_health::server::health_reporter;

    use super::{check, reachable};

    #[test]
    fn an_address_to_listen_on_is_asked_on_this_machine() {
        for (given, expected) in [
            ("0.0.0.0:50051", "127.0.0.1:50051"),
            ("[::]:50051", "127.0.0.1:50051"),
            (":50051", "127.0.0.1:50051"),
            ("worker-1:50051", "worker-1:50051"),
            ("http://worker-1:50051/", "worker-1:50051"),
            ("10.0.0.0:1", "10.0.0.0:1"),
        ] {
            assert_eq!(reachable(given), expected, "{given}");
        }
    }

    #[tokio::test]
    async fn only_a_service_that_serves_is_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (reporter, service) = health_reporter();
        let listener = Listener::new(listener, Limits::grpc());
        tokio::spawn(listener.serve_grpc(Routes::new(service), CancellationToken::new()));
        reporter.set_service_status("ours", ServingStatus::Serving).await;
        check(&address, "ours").await.unwrap();
        reporter.set_service_status("ours", ServingStatus::NotServing).await;
        let error = async |address: &str, service| format!("{:#}", check(address, service).await.unwrap_err());
        assert_eq!(error(&address, "ours").await, "not serving");
        assert_eq!(error(&address, "theirs").await, "another service answers there");
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        assert!(error(&free, "ours").await.starts_with("cannot connect"), "{}", error(&free, "ours").await);
    }
}
