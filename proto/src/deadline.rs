//! Deadlines: `grpc-timeout`, enforced for the whole of a call.
//!
//! tonic enforces it only until the response headers, and then answers CANCELLED.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Bytes};
use tower::{Layer, Service};

use crate::status::{FieldViolation, ServiceError};

const HEADER: &str = "grpc-timeout";

/// When the caller stops waiting: in the extensions of a request that came with a `grpc-timeout`.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

/// Ends calls at their deadline with DEADLINE_EXCEEDED.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService(inner)
    }
}

/// What [`DeadlineLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct DeadlineService<S>(S);

impl<S> Service<Request<Body>> for DeadlineService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let deadline = match deadline(request.headers(), Instant::now()) {
            Ok(deadline) => deadline,
            Err(violation) => {
                let status = Status::from(ServiceError::from(violation));
                return Box::pin(std::future::ready(Ok(status.into_http())));
            }
        };
        let Some(deadline) = deadline else { return Box::pin(self.0.call(request)) };
        request.extensions_mut().insert(Deadline(deadline));
        let call = self.0.call(request);
        Box::pin(async move {
            let mut passed = Passed::at(deadline);
            tokio::select! {
                biased;
                () = &mut passed => Ok(exceeded().into_http()),
                response = call => {
                    let (head, body) = response?.into_parts();
                    let body = Body::new(TimedBody { body, passed, is_over: false });
                    Ok(Response::from_parts(head, body))
                }
            }
        })
    }
}

/// What the caller asks for; `None` without the header, or for a time that no clock reaches.
fn deadline(headers: &HeaderMap, now: Instant) -> Result<Option<Instant>, FieldViolation> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let timeout =
        value.to_str().ok().and_then(parse_timeout).ok_or_else(|| {
            FieldViolation::new(HEADER, "must be 1 to 8 digits and one of H, M, S, m, u or n, e.g. 500m")
        })?;
    Ok(now.checked_add(timeout))
}

/// `Timeout` of the gRPC over HTTP/2 specification: at most eight digits and a unit.
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn exceeded() -> Status {
    ServiceError::DeadlineExceeded("the deadline passed before the reply ended".into()).into()
}

/// Resolves at a time. It asks the clock, not only the timer, whose steps are a millisecond: tonic's own timer wakes the same task
/// and would answer first.
struct Passed {
    deadline: Instant,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Passed {
    fn at(deadline: Instant) -> Self {
        Self { deadline, timer: Box::pin(tokio::time::sleep_until(deadline.into())) }
    }
}

impl Future for Passed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline { Poll::Ready(()) } else { self.timer.as_mut().poll(cx) }
    }
}

/// A response that is cut at its deadline.
struct TimedBody {
    body: Body,
    passed: Passed,
    is_over: bool,
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if Pin::new(&mut self.passed).poll(cx).is_ready() {
            self.is_over = true;
            // Whoever makes the rest learns that nobody waits for it.
            self.body = Body::empty();
            let mut trailers = HeaderMap::new();
            exceeded().add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_specification_writes_them() {
        for (text, expected) in [
            ("0n", Some(Duration::ZERO)),
            ("1S", Some(Duration::from_secs(1))),
            ("500m", Some(Duration::from_millis(500))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("7u", Some(Duration::from_micros(7))),
            ("7n", Some(Duration::from_nanos(7))),
            ("2M", Some(Duration::from_secs(120))),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
        for text in ["", "S", "5", "-1S", "1.5S", "123456789S", "1x", "5€"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }

    /// Answers with a stream that never ends, after `delay`.
    async fn call(timeout: &str, delay: Duration) -> Response<Body> {
        let service = tower::service_fn(move |request: Request<Body>| async move {
            assert!(request.extensions().get::<Deadline>().is_some());
            tokio::time::sleep(delay).await;
            Ok::<_, Status>(Response::new(Body::new(Endless)))
        });
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(HEADER, timeout.parse().unwrap());
        DeadlineLayer.layer(service).call(request).await.unwrap()
    }

    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"token")))))
        }
    }

    fn status(headers: &HeaderMap) -> Option<Code> {
        Status::from_header_map(headers).map(|status| status.code())
    }

    #[tokio::test]
    async fn a_call_that_does_not_begin_in_time_has_exceeded_its_deadline() {
        for timeout in ["0n", "0S", "1n", "1u", "1m", "20m"] {
            let response = call(timeout, Duration::from_secs(60)).await;
            assert_eq!(status(response.headers()), Some(Code::DeadlineExceeded), "{timeout}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_does_not_end_in_time_is_cut_with_the_same_status() {
        let mut body = call("30m", Duration::ZERO).await.into_body();
        let trailers = loop {
            let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await;
            if let Ok(trailers) = frame.unwrap().unwrap().into_trailers() {
                break trailers;
            }
        };
        assert_eq!(status(&trailers), Some(Code::DeadlineExceeded));
        assert!(std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await.is_none());
    }

    #[tokio::test]
    async fn a_timeout_that_cannot_be_read_is_named() {
        let response = call("soon", Duration::ZERO).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("grpc-timeout: must be"), "{status}");
    }
}
