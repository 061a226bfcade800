//! A link between worker and predictor that stalls, breaks and delays.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Passes them on.
    Clear,
    /// Keeps them, as a switch does that lost its way.
    Stalled,
    /// Cuts every connection, and each new one.
    Broken,
    /// Passes them on so much later.
    Delayed(Duration),
}

/// A proxy on a port of its own; it ends with the runtime.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (weather, watched) = watch::channel(Weather::Clear);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *watched.borrow() != Weather::Broken
                    && let Ok(far) = TcpStream::connect(target).await
                {
                    join(near, far, &watched);
                }
            }
        });
        Self { addr, weather }
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

fn join(near: TcpStream, far: TcpStream, weather: &watch::Receiver<Weather>) {
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let (there, back) = (pass(near_read, far_write, weather.clone()), pass(far_read, near_write, weather.clone()));
    let mut broken = weather.clone();
    tokio::spawn(async move {
        // Whatever ends first ends both directions.
        tokio::select! {
            () = there => {}
            () = back => {}
            _ = broken.wait_for(|weather| *weather == Weather::Broken) => {}
        }
    });
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = weather.wait_for(|weather| *weather != Weather::Stalled).await.map(|weather| *weather) else {
            return;
        };
        if let Weather::Delayed(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
