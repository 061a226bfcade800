//! What the live requests of each worker will still generate, as gauges, made when they are asked for.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::tracker::WorkerOutstanding;

/// Of the workers that were known last.
#[derive(Debug, Clone, Default)]
pub(super) struct OutstandingGauges(Arc<Mutex<Vec<WorkerOutstanding>>>);

impl OutstandingGauges {
    /// Shows these instead.
    pub(super) fn set(&self, workers: Vec<WorkerOutstanding>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = workers;
    }
}

impl Collector for OutstandingGauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, help) = (
            "forecast_outstanding_tokens",
            "Tokens that a worker's live requests will still generate: expected, and not exceeded by 90 %",
        );
        let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in workers.iter() {
            for (stat, tokens) in [("mean", one.mean), ("p90", one.p90)] {
                gauge.encode_family(&[("worker", one.worker_id.as_str()), ("stat", stat)])?.encode_gauge(&tokens)?;
            }
        }
        Ok(())
    }
}
