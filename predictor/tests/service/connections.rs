//! Strangers with more connections than there are descriptors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use eoscast_proto::predictor::v1 as pb;

use crate::predictor::{Predictor, binary};

/// For an answer beside a flood.
const PATIENCE: Duration = Duration::from_secs(10);

fn health(addr: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// CPU time of a process so far, in ticks of 10 ms.
fn ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The same with so few descriptors.
fn limited(descriptors: u32) -> Command {
    let unlimited = binary();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}:{descriptors}")).arg(unlimited.get_program());
    for (name, value) in unlimited.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_descriptors_it_answers_and_does_not_spin() {
    let data = tempfile::tempdir().unwrap();
    let mut command = limited(96);
    command.args(["serve", "--metrics", "127.0.0.1:0", "--data-dir"]).arg(data.path());
    let predictor = Predictor::spawn(command);
    let metrics = predictor.metrics_addr();
    for (addr, bytes) in [(&predictor.addr, &b""[..]), (&metrics, b"GET /heal")] {
        let mut flood = Vec::new();
        for _ in 0..200 {
            let mut socket = TcpStream::connect(addr).unwrap();
            // It may have been displaced already.
            let _ = socket.write_all(bytes);
            flood.push(socket);
        }
        assert!(health(&metrics).starts_with("HTTP/1.1 200"));
        let mut client = predictor.client().await;
        let model = client.get_model(pb::GetModelRequest {});
        tokio::time::timeout(PATIENCE, model).await.expect("an answer in time").unwrap();
        let (began, before) = (Instant::now(), ticks(&predictor.pid()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let busy = (ticks(&predictor.pid()) - before) as f64 / 100.0 / began.elapsed().as_secs_f64();
        assert!(busy < 0.5, "{busy} cores");
    }
    let page = {
        let mut socket = TcpStream::connect(&metrics).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        page
    };
    let displaced = "eoscast_predictor_connections_ended_total{listener=\"grpc\",reason=\"displaced\"} ";
    let count = page.lines().find_map(|line| line.strip_prefix(displaced)).unwrap();
    assert!(count.parse::<u32>().unwrap() > 100, "{count}");
    assert!(predictor.terminate());
}
