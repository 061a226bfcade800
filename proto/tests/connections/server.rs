//! A listener with short times.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eoscast_proto::transport::{Counts, Ending, Limits, Listener, RequestBody};
use http_body::Body as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;

use crate::client::PATIENCE;

/// Long for a machine that does something else, short for a test.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// Nothing ends by itself.
pub(crate) const ENDLESS: Limits = Limits {
    connections: 100,
    first_request: Duration::from_secs(600),
    idle: Duration::from_secs(600),
    age: None,
    unread: Duration::from_secs(600),
    body: Duration::from_secs(600),
    held_bytes: 1 << 30,
    grace: SHORT,
    sweep: Duration::from_millis(20),
};

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn listen(limits: Limits) -> (SocketAddr, Listener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), Listener::new(listener, limits))
    }

    /// Answers every request over HTTP by `handler`.
    pub(crate) async fn http<F>(
        limits: Limits,
        handler: impl Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Body> + Send + 'static,
    {
        let (addr, listener) = Self::listen(limits).await;
        let service = tower::service_fn(move |request| {
            let body = handler(request);
            async move { Ok::<_, Infallible>(Response::new(body.await)) }
        });
        let (counts, stop) = (listener.counts(), CancellationToken::new());
        let serving = tokio::spawn(listener.serve_http(service, stop.clone()));
        Self { addr, counts, stop, serving }
    }

    /// Answers at once.
    pub(crate) async fn answering(limits: Limits) -> Self {
        Self::http(limits, |_| async { Body::empty() }).await
    }

    pub(crate) async fn grpc(limits: Limits, routes: Routes) -> Self {
        let (addr, listener) = Self::listen(limits).await;
        let (counts, stop) = (listener.counts(), CancellationToken::new());
        let serving = tokio::spawn(listener.serve_grpc(routes, stop.clone()));
        Self { addr, counts, stop, serving }
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Counts) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(&self.counts) {
            assert!(Instant::now() < deadline, "never came true: {what}: {:?}", self.counts);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_ended(&self, connections: u64, ending: Ending) {
        self.until("as many ended, or more", |counts| counts.ended(ending) >= connections).await;
    }

    /// Stops, and says how long it took.
    pub(crate) async fn stop(self) -> Duration {
        let began = Instant::now();
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the end in time").unwrap();
        began.elapsed()
    }
}

/// How many of something are there, and how many were there at most.
#[derive(Clone, Default)]
pub(crate) struct Running {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// One of them.
pub(crate) struct Runs(Running);

impl Running {
    pub(crate) fn begin(&self) -> Runs {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Runs(self.clone())
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Never answers; `running` shows how many wait for it.
pub(crate) fn forever(
    running: &Running,
) -> impl Fn(Request<RequestBody>) -> Pin<Box<dyn Future<Output = Body> + Send>> + Clone + Send + 'static {
    let running = running.clone();
    move |request| {
        let runs = running.begin();
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop((runs, request));
            Body::empty()
        })
    }
}

/// All bytes of a body; what went wrong instead.
pub(crate) async fn read(mut body: RequestBody) -> Result<usize, String> {
    let mut bytes = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes += frame.map_err(|error| error.to_string())?.data_ref().map_or(0, |data| data.len());
    }
    Ok(bytes)
}
