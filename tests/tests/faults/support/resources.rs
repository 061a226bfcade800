//! What a process holds, as `/proc` tells it.

use std::fs;
use std::time::{Duration, Instant};

use eoscast_pair::process::Process;

/// Clock ticks per second in `/proc/PID/stat`, on Linux for user space always.
const TICKS_PER_SECOND: f64 = 100.0;
const MB: f64 = 1e6;

fn status_field(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Resident memory; `None` once the process has ended.
pub(crate) fn resident_bytes(id: u32) -> Option<u64> {
    status_field(id, "VmRSS:").map(|kilobytes| kilobytes * 1024)
}

/// Resident memory in MB.
pub(crate) fn resident_mb(process: &Process) -> f64 {
    resident_bytes(process.id()).expect("the process runs") as f64 / MB
}

/// The most that the process ever held, in MB.
pub(crate) fn peak_mb(process: &Process) -> f64 {
    let kilobytes = status_field(process.id(), "VmHWM:").expect("the process runs");
    (kilobytes * 1024) as f64 / MB
}

/// Open descriptors.
pub(crate) fn descriptors(process: &Process) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// Seconds of processor time since the start.
pub(crate) fn cpu_seconds(process: &Process) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    // The name in brackets may hold spaces; utime and stime are fields 14 and 15 from the start.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// Cores that the process keeps busy over the next while.
pub(crate) async fn busy_cores(process: &Process, over: Duration) -> f64 {
    let (before, start) = (cpu_seconds(process), Instant::now());
    tokio::time::sleep(over).await;
    (cpu_seconds(process) - before) / start.elapsed().as_secs_f64()
}
