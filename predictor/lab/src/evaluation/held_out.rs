//! [`HeldOut`]: the requests of a log that models are judged on, and those that they may learn from.

use anyhow::ensure;
use eoscast_forecast::fitting::dataset::Dataset;
use eoscast_forecast::fitting::sample::Sample;
use eoscast_forecast::fitting::split::{Split, groups};
use eoscast_forecast::history::History;
use eoscast_log::record::Outcome;

use super::{FinishedReply, trained};

/// Fewest requests to judge on.
const LEAST_TEST: usize = 20;

/// A log, divided.
pub(crate) struct HeldOut<'a> {
    /// Requests to judge on.
    pub(crate) samples: Vec<&'a Sample>,
    /// Their replies, in the same order.
    pub(crate) replies: Vec<FinishedReply>,
    /// Replies for training.
    pub(crate) past: Vec<FinishedReply>,
    /// Outcomes of the requests for training.
    pub(crate) history: History,
    /// Places of the requests for training in the log.
    pub(crate) train: Vec<usize>,
    log: &'a Dataset,
    unseen: Option<&'a Dataset>,
}

impl<'a> HeldOut<'a> {
    /// Divides `log` as `train` does with the same seed. The requests of `unseen` are judged on, too, unless `log` has their prompts.
    ///
    /// # Errors
    /// There are too few requests to judge on, or none to learn from.
    pub(crate) fn new(log: &'a Dataset, unseen: Option<&'a Dataset>, split_seed: u64) -> anyhow::Result<Self> {
        let further = unseen.map_or(&[][..], |unseen| &unseen.samples);
        let all: Vec<&Sample> = log.samples.iter().chain(further).collect();
        let groups = groups(all.iter().copied());
        let split = Split::with_further(&log.samples, further, split_seed);
        let part = |part: &[usize]| -> (Vec<&Sample>, Vec<FinishedReply>) {
            let served = part.iter().filter(|i| all[**i].is_served_out());
            served.map(|i| (all[*i], trained::reply(all[*i], groups[*i].clone()))).unzip()
        };
        let (samples, replies) = part(&split.test);
        let (past_samples, past) = part(&split.train);
        ensure!(
            replies.len() >= LEAST_TEST,
            "there are {} requests to judge on, at least {LEAST_TEST} are needed; collect about {} requests",
            replies.len(),
            10 * LEAST_TEST
        );
        ensure!(
            !past.is_empty(),
            "no request of it was for training, and the baselines learn from those; name the whole log"
        );
        let mut history = History::default();
        past_samples.iter().for_each(|sample| history.push(Outcome::new(sample.length, !sample.ended)));
        Ok(Self { samples, replies, past, history, train: split.train, log, unseen })
    }

    /// Which model, prompts and sampling the replies are of.
    pub(crate) fn description(&self) -> String {
        let mut temperatures: Vec<f32> = self.replies.iter().filter_map(|reply| reply.temperature).collect();
        temperatures.sort_by(f32::total_cmp);
        temperatures.dedup();
        let mut temperatures: Vec<String> = temperatures.iter().map(f32::to_string).collect();
        if self.replies.iter().any(|reply| reply.temperature.is_none()) {
            temperatures.push("not known".to_owned());
        }
        let logs = || std::iter::once(self.log).chain(self.unseen);
        let hashes: Vec<&str> = logs().filter_map(|log| log.hash.get(..8)).collect();
        format!(
            "{} of {} requests of {}, held out by prompt; temperature {}; data {}",
            self.replies.len(),
            logs().map(|log| log.samples.len()).sum::<usize>(),
            self.log.model,
            temperatures.join(", "),
            hashes.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use eoscast_forecast::fitting::synthetic::dataset;

    use super::*;

    #[test]
    fn what_is_for_training_is_not_judged_on() {
        let log = dataset(200, 4);
        let data = HeldOut::new(&log, None, 1).unwrap();
        let judged: HashSet<&str> = data.replies.iter().map(|reply| reply.request_id.as_str()).collect();
        assert!(data.past.iter().all(|reply| !judged.contains(reply.request_id.as_str())));
        assert!(data.train.iter().all(|place| !judged.contains(log.samples[*place].request_id.as_str())));
        assert_eq!(data.history.seen as usize, data.past.len());
        assert_eq!(data.samples.len(), data.replies.len());
        let description = data.description();
        assert!(description.contains(&format!("of 200 requests of {}", log.model)), "{description}");
    }

    #[test]
    fn requests_with_prompts_of_the_log_are_not_unseen() {
        let log = dataset(200, 4);
        let judged = |unseen| HeldOut::new(&log, unseen, 1).unwrap().replies.len();
        assert_eq!(judged(Some(&log)), judged(None));
    }

    #[test]
    fn too_few_requests_to_judge_on_are_an_error() {
        let log = dataset(20, 4);
        let error = HeldOut::new(&log, None, 1).err().unwrap().to_string();
        assert!(error.contains("at least 20 are needed"), "{error}");
    }
}
