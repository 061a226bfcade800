//! `process_*`, named as by Prometheus' own client libraries.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Reads `/proc` on each scrape. Other systems have none: there is nothing on the page then.
#[derive(Debug)]
pub(crate) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) else {
            return Ok(());
        };
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let cpu_seconds = stat.cpu_ticks as f64 / ticks;
        encoder
            .encode_descriptor("process_cpu_seconds", "User and system CPU time", None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&cpu_seconds, None)?;
        let resident = stat.resident_pages * rustix::param::page_size() as u64;
        let mut gauge = |name, help, value: f64| {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
        };
        gauge("process_resident_memory_bytes", "Memory in RAM", resident as f64)?;
        gauge("process_virtual_memory_bytes", "Address space", stat.virtual_bytes as f64)?;
        gauge("process_threads", "Operating system threads", stat.threads as f64)?;
        if let Some(booted) = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text)) {
            let started = booted as f64 + stat.started_ticks as f64 / ticks;
            gauge("process_start_time_seconds", "Start of the process, in seconds since 1970", started)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is that of the folder just opened.
            gauge("process_open_fds", "Open file descriptors", open.count().saturating_sub(1) as f64)?;
        }
        if let Some(most) = fs::read_to_string("/proc/self/limits").ok().and_then(|text| most_files(&text)) {
            gauge("process_max_fds", "File descriptors that may be open", most as f64)?;
        }
        Ok(())
    }
}

/// What is read of `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Since the boot.
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the binary may hold anything, brackets too.
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbered as in proc_pid_stat(5); the third is the first after the name.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            started_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// Seconds since 1970, from `/proc/stat`.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit, from `/proc/self/limits`; `None` if there is none.
fn most_files(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::format::Format;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text =
            "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1234 1000000 300 18446744073709551615 1\n";
        let expected =
            Stat { cpu_ticks: 300, threads: 9, started_ticks: 1234, virtual_bytes: 1_000_000, resident_pages: 300 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (short) S 1"), None);
    }

    #[test]
    fn a_limit_may_be_unlimited() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n";
        let line =
            |soft: &str| format!("{limits}Max open files            {soft}                 4096            files\n");
        assert_eq!((most_files(&line("1024")), most_files(&line("unlimited"))), (Some(1024), None));
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_started_in_the_past_and_uses_memory() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let page = Format::Text.encode(&registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        assert!(value("process_threads") >= 1.0 && value("process_virtual_memory_bytes") > 1e6);
    }
}
