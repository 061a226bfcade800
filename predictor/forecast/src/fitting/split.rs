//! [`Split`]: which requests are for training and which for testing; never two sides of one prompt.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::sample::Sample;

/// Share of the prompts.
const TRAIN: f64 = 0.8;

/// Positions of samples, by use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// For fitting and calibrating models.
    pub train: Vec<usize>,
    /// For judging them.
    pub test: Vec<usize>,
}

impl Split {
    /// By a hash of `seed` and of each sample's group.
    pub fn new(samples: &[Sample], seed: u64) -> Self {
        let mut split = Self::default();
        for (i, group) in groups(samples.iter()).iter().enumerate() {
            let part = if share(seed, "split", group) < TRAIN { &mut split.train } else { &mut split.test };
            part.push(i);
        }
        split
    }

    /// The same with `further` samples, whose positions follow, to test on too, but for those of a group that is in `samples`.
    pub fn with_further(samples: &[Sample], further: &[Sample], seed: u64) -> Self {
        let mut split = Self::new(samples, seed);
        let groups = groups(samples.iter().chain(further));
        let known: HashSet<&String> = groups[..samples.len()].iter().collect();
        split.test.extend((samples.len()..groups.len()).filter(|i| !known.contains(&groups[*i])));
        split
    }
}

/// With fewer groups for each fold than this, folds are by request: all of a traffic may be one template.
const LEAST_GROUPS: u32 = 10;

/// Divides training samples in `folds` parts by group and keeps part `fold` aside: (the others, that part).
pub fn fold(samples: &[&Sample], seed: u64, folds: u32, fold: u32) -> (Vec<usize>, Vec<usize>) {
    let mut names: Vec<String> = groups(samples.iter().copied());
    if names.iter().collect::<HashSet<_>>().len() < (LEAST_GROUPS * folds) as usize {
        names = (0..samples.len()).map(|i| i.to_string()).collect();
    }
    (0..samples.len()).partition(|i| (share(seed, "fold", &names[*i]) * f64::from(folds)) as u32 != fold)
}

/// The group of each sample: the name of its prompt, or of the first of the prompts that look the same. Prompts with equal features and
/// lengths are near-duplicates: a template with other words of the same shape.
pub fn groups<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> Vec<String> {
    // The smallest name of each look, and through shared names of all looks that belong together.
    let mut of_name: HashMap<&str, &str> = HashMap::new();
    let mut of_look: HashMap<(Option<u32>, Vec<u32>), &str> = HashMap::new();
    let look = |sample: &Sample| {
        let prompt = sample.arrival.prompt?;
        Some((sample.arrival.prompt_length, prompt.values.map(f32::to_bits).to_vec()))
    };
    loop {
        let mut changed = false;
        for sample in samples.clone() {
            let name = sample.prompt_name();
            let mut group = of_name.get(name).copied().unwrap_or(name);
            if let Some(look) = look(sample) {
                let of_look = of_look.entry(look).or_insert(group);
                group = group.min(of_look);
                changed |= *of_look != group;
                *of_look = group;
            }
            changed |= of_name.insert(name, group) != Some(group);
        }
        if !changed {
            break;
        }
    }
    samples
        .map(|sample| of_name.get(sample.prompt_name()).map_or_else(String::new, |name| (*name).to_owned()))
        .collect()
}

/// A number in 0..1 that hangs on the seed, the use and the name alone.
fn share(seed: u64, purpose: &str, name: &str) -> f64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose).chain_update(name).finalize();
    let first = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    // 53 bits, so that it is exact and below 1.
    (first >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fitting::synthetic::samples;

    #[test]
    fn samples_of_one_prompt_and_of_prompts_that_look_the_same_stay_together() {
        let mut all = samples(400, 1);
        for (i, sample) in all.iter_mut().enumerate() {
            sample.request_id = format!("prompt-{}#{}", i / 4, i % 4).try_into().unwrap();
            sample.arrival.prompt = None;
        }
        // Prompt 9 looks like prompt 50, which looks like prompt 70.
        for (a, b) in [(36, 200), (201, 280)] {
            let prompt = Some(eoscast_log::prompt::PromptFeatures::of(&"word ".repeat(a)));
            (all[a].arrival.prompt, all[b].arrival.prompt) = (prompt, prompt);
            all[b].arrival.prompt_length = all[a].arrival.prompt_length;
        }
        let groups = groups(all.iter());
        assert_eq!(groups[36..40], [const { "prompt-50" }; 4].map(str::to_owned));
        assert_eq!(groups[280], "prompt-50");
        let split = Split::new(&all, 3);
        for part in [&split.train, &split.test] {
            assert!(part.iter().all(|i| (0..400).filter(|j| groups[*j] == groups[*i]).all(|j| part.contains(&j))));
        }
    }

    #[test]
    fn further_samples_are_tested_on_unless_their_prompts_are_known() {
        let (mut all, mut further) = (samples(60, 1), samples(4, 2));
        let name = |name: &str| name.to_owned().try_into().unwrap();
        let prompt = Some(eoscast_log::prompt::PromptFeatures::of("What now?"));
        all.iter_mut().chain(&mut further).for_each(|sample| sample.arrival.prompt = None);
        (all[7].request_id, all[9].arrival.prompt) = (name("known"), prompt);
        further
            .iter_mut()
            .zip(["known", "new", "looks-known", "new-too"])
            .for_each(|(sample, id)| sample.request_id = name(id));
        (further[2].arrival.prompt, further[2].arrival.prompt_length) = (prompt, all[9].arrival.prompt_length);
        let (alone, both) = (Split::new(&all, 3), Split::with_further(&all, &further, 3));
        assert_eq!(both.train, alone.train);
        assert_eq!(both.test, [alone.test, vec![61, 63]].concat());
    }

    #[test]
    fn the_seed_decides_who_is_where_and_nothing_else() {
        let all = samples(300, 1);
        assert_eq!(Split::new(&all, 3), Split::new(&all, 3));
        assert_ne!(Split::new(&all, 3), Split::new(&all, 4));
        let split = Split::new(&all, 3);
        assert_eq!(split.train.len() + split.test.len(), 300);
        assert!((210..270).contains(&split.train.len()) && (35..90).contains(&split.test.len()), "{split:?}");
    }
}
