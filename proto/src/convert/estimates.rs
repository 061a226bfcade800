//! Predictor to worker and to viewers: estimates.

use super::{ascending, finite, within};
use crate::domain::{
    END_WITHIN, Forecast, LengthEstimate, LengthPrior, ModelForecast, QUANTILE_LEVELS, RequestId, RequestState,
    StepsReply,
};
use crate::predictor::v1 as pb;
use crate::status::FieldViolation;

impl From<LengthEstimate> for pb::LengthEstimate {
    fn from(estimate: LengthEstimate) -> Self {
        let LengthEstimate { request_id, step, forecast } = estimate;
        let Forecast { mean, quantiles, end_within } = forecast.remaining;
        Self {
            request_id: request_id.into(),
            step,
            source: forecast.source.as_ref().to_owned(),
            model_version: forecast.model_version.as_ref().to_owned(),
            mean,
            quantiles: quantiles.to_vec(),
            end_within: end_within.to_vec(),
        }
    }
}

impl TryFrom<pb::LengthEstimate> for LengthEstimate {
    type Error = FieldViolation;

    fn try_from(message: pb::LengthEstimate) -> Result<Self, Self::Error> {
        let end_within = ascending::<{ END_WITHIN.len() }>("end_within", &message.end_within)?;
        within("end_within", end_within[END_WITHIN.len() - 1], 0.0, 1.0)?;
        Ok(Self {
            request_id: RequestId::try_from(message.request_id)?,
            step: message.step,
            forecast: ModelForecast {
                source: message.source.into(),
                model_version: message.model_version.into(),
                remaining: Forecast {
                    mean: within("mean", finite("mean", message.mean)?, 0.0, f32::MAX)?,
                    quantiles: ascending::<{ QUANTILE_LEVELS.len() }>("quantiles", &message.quantiles)?,
                    end_within,
                },
            },
        })
    }
}

impl From<LengthPrior> for pb::LengthPrior {
    fn from(prior: LengthPrior) -> Self {
        Self { quantiles: prior.quantiles.to_vec(), mean: prior.mean, outcomes: prior.outcomes }
    }
}

impl TryFrom<pb::LengthPrior> for LengthPrior {
    type Error = FieldViolation;

    fn try_from(message: pb::LengthPrior) -> Result<Self, Self::Error> {
        Ok(Self {
            quantiles: ascending::<{ QUANTILE_LEVELS.len() }>("quantiles", &message.quantiles)?,
            mean: within("mean", finite("mean", message.mean)?, 0.0, f32::MAX)?,
            outcomes: message.outcomes,
        })
    }
}

impl From<StepsReply> for pb::StreamStepsResponse {
    fn from(reply: StepsReply) -> Self {
        Self {
            acknowledged_sequence_number: reply.acknowledged,
            logged: reply.logged,
            estimates: reply.estimates.into_iter().map(Into::into).collect(),
            prior: reply.prior.map(Into::into),
        }
    }
}

impl TryFrom<pb::StreamStepsResponse> for StepsReply {
    type Error = FieldViolation;

    fn try_from(message: pb::StreamStepsResponse) -> Result<Self, Self::Error> {
        let estimates = message
            .estimates
            .into_iter()
            .enumerate()
            .map(|(i, estimate)| LengthEstimate::try_from(estimate).map_err(|v| v.scope(format!("estimates[{i}]"))))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            acknowledged: message.acknowledged_sequence_number,
            logged: message.logged,
            estimates,
            prior: message.prior.map(LengthPrior::try_from).transpose().map_err(|v| v.scope("prior"))?,
        })
    }
}

impl From<RequestState> for pb::RequestState {
    fn from(state: RequestState) -> Self {
        Self {
            worker_id: state.worker_id.into(),
            request_id: state.started.request_id.into(),
            model: state.started.model,
            task: state.started.task.unwrap_or_default(),
            prompt_length: state.started.prompt_length,
            max_tokens: state.started.max_tokens,
            output_length: state.output_length,
            eos_probability: state.eos_probability,
            estimate: Some(state.estimate.into()),
        }
    }
}
