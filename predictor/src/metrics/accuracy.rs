//! Accuracy as gauges, made when they are asked for.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::accuracy::ModelAccuracy;
use eoscast_forecast::age::AGE_NAMES;

/// The last accuracy told.
#[derive(Debug, Clone, Default)]
pub struct AccuracyGauges(Arc<Mutex<Vec<ModelAccuracy>>>);

impl AccuracyGauges {
    /// Shows these instead.
    pub fn set(&self, accuracy: Vec<ModelAccuracy>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = accuracy;
    }
}

type Figure = (&'static str, &'static str, fn(&ModelAccuracy) -> f64);

const FIGURES: [Figure; 5] = [
    ("accuracy_requests", "Finished requests that accuracy rests on, by model and task (empty: all)", |one| {
        f64::from(one.requests)
    }),
    ("accuracy_mae_tokens", "Mean absolute error of the median of remaining length", |one| one.mae),
    ("accuracy_bias_tokens", "Mean of forecast mean - truth of remaining length", |one| one.bias),
    ("accuracy_prior_mae_tokens", "Mean absolute error of the prior at the same steps", |one| one.prior_mae),
    ("accuracy_error_to_prior", "Drift: error in parts of the prior's; above 1 the prior alone does better", |one| {
        one.error_to_prior()
    }),
];

impl Collector for AccuracyGauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |one: &ModelAccuracy| {
            [("model", one.model.clone()), ("task", one.task.as_deref().unwrap_or_default().to_owned())]
        };
        for (name, help, figure) in FIGURES {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for one in shown.iter() {
                gauge.encode_family(&labels(one))?.encode_gauge(&figure(one))?;
            }
        }
        let help = "Share of requests that the 90 % interval held, by tokens generated";
        let mut gauge = encoder.encode_descriptor("accuracy_coverage90", help, None, MetricType::Gauge)?;
        for one in shown.iter() {
            for (name, age) in AGE_NAMES.iter().zip(&one.coverage90).filter(|(_, age)| age.requests > 0) {
                let [model, task] = labels(one);
                gauge.encode_family(&[model, task, ("age", (*name).to_owned())])?.encode_gauge(&age.share)?;
            }
        }
        Ok(())
    }
}
