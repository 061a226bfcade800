//! [`Example`]: the forecasts of one reply over its life, for a fan chart.

use eoscast_proto::domain::Forecast;
use serde::{Deserialize, Serialize};

use super::Judged;

/// Levels of the fan.
pub(crate) const LEVELS: [f64; 5] = [0.05, 0.2, 0.5, 0.8, 0.95];

/// Most steps told of one reply.
const STEPS: usize = 120;

/// Quantiles of the remaining length of one reply as it grew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Example {
    /// Whose.
    pub(crate) request_id: String,
    /// Tokens it had in the end.
    pub(crate) output_length: u32,
    /// It ended by itself.
    pub(crate) ended: bool,
    /// Tokens generated, and remaining tokens at [`LEVELS`].
    pub(crate) steps: Vec<(u32, [f32; LEVELS.len()])>,
}

impl Example {
    /// The replies at the 25th, 50th, 75th and 90th percentile of length among those that ended, so that all models show the
    /// same ones.
    pub(crate) fn typical(judged: &[Judged<'_>]) -> Vec<Self> {
        let mut ended: Vec<_> = judged.iter().filter(|one| one.reply.ended && !one.answers.is_empty()).collect();
        ended.sort_by_key(|one| (one.reply.output_length, &one.reply.request_id));
        let mut places: Vec<_> = [25, 50, 75, 90].map(|percent| ended.len() * percent / 100).into();
        places.dedup();
        places.into_iter().filter_map(|place| ended.get(place)).map(|one| Self::of(one)).collect()
    }

    fn of(judged: &Judged<'_>) -> Self {
        let reply = judged.reply;
        let stride = judged.answers.len().div_ceil(STEPS).max(1);
        let step = |(t, answer): (u32, &Forecast)| (t, LEVELS.map(|level| answer.quantile(level, reply.cap(t)) as f32));
        Self {
            request_id: reply.request_id.clone(),
            output_length: reply.output_length,
            ended: reply.ended,
            steps: judged.steps().step_by(stride).map(step).collect(),
        }
    }
}
