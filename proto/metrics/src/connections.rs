//! Connections, by listener.

use std::fmt;
use std::sync::Arc;

use eoscast_proto::transport::{Counts, Ending};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The counts of each listener under its name.
#[derive(Debug)]
struct Listeners(Vec<(&'static str, Arc<Counts>)>);

/// Shows what listeners count, each under its name, as `PREFIX_connections` and so on.
pub fn register(registry: &mut Registry, prefix: &str, listeners: Vec<(&'static str, Arc<Counts>)>) {
    registry.sub_registry_with_prefix(prefix).register_collector(Box::new(Listeners(listeners)));
}

type Gauge = (&'static str, &'static str, fn(&Counts) -> usize);
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

const GAUGES: [Gauge; 2] = [
    ("connections", "Open connections, by listener", Counts::open),
    ("connections_held_bytes", "Bytes of unfinished requests and unsent responses", Counts::held_bytes),
];

const COUNTERS: [Counter; 3] = [
    ("accept_errors", "Errors of accepting connections", Counts::accept_errors),
    ("slow_request_bodies", "Requests refused because their bodies did not arrive in time", Counts::slow_bodies),
    (
        "unread_responses",
        "Responses given up because their clients did not read them, on connections that went on",
        Counts::unread_responses,
    ),
];

impl Collector for Listeners {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(listeners) = self;
        for (name, help, value) in GAUGES {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (listener, counts) in listeners {
                gauge.encode_family(&[("listener", *listener)])?.encode_gauge(&(value(counts) as u64))?;
            }
        }
        for (name, help, value) in COUNTERS {
            let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (listener, counts) in listeners {
                let labels = [("listener", *listener)];
                counter.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value(counts), None)?;
            }
        }
        let help = "Connections that the service ended or did not take, by reason";
        let mut counter = encoder.encode_descriptor("connections_ended", help, None, MetricType::Counter)?;
        for (listener, counts) in listeners {
            for ending in Ending::ALL {
                let labels = [("listener", *listener), ("reason", ending.as_str())];
                counter.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&counts.ended(ending), None)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn each_listener_has_its_connections_and_each_reason_of_their_ends_from_the_start() {
        let mut registry = Registry::default();
        register(&mut registry, "x", vec![("grpc", Arc::default()), ("http", Arc::default())]);
        let page = Format::Text.encode(&registry).unwrap();
        for line in [
            "# TYPE x_connections gauge",
            "x_connections{listener=\"http\"} 0",
            "# TYPE x_connections_ended_total counter",
            "x_connections_ended_total{listener=\"grpc\",reason=\"displaced\"} 0",
            "x_accept_errors_total{listener=\"http\"} 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
