use super::*;
use proptest::prelude::*;

const EOS: u32 = 2;

fn sets(eos: &[u32]) -> Arc<TokenSets> {
    Arc::new(TokenSets::of_eos(eos))
}

fn sampler(params: SamplingParams) -> Sampler {
    Sampler::new(params, 7, sets(&[0, EOS]), &[])
}

/// The token at `step`, counted in for those after it.
fn next(sampler: &mut Sampler, row: &[f32], step: u32) -> u32 {
    let token = sampler.sample(row, &mut Vec::new(), step, 0.0).unwrap().token_id;
    sampler.accept(token);
    token
}

/// Frequencies of the tokens over many places of one reply's random stream.
fn frequencies(params: &SamplingParams, row: &[f32]) -> Vec<f64> {
    let draws = 40_000;
    let mut counts = vec![0.0; row.len()];
    for step in 1..=draws {
        counts[sampler(params.clone()).sample(row, &mut Vec::new(), step, 0.0).unwrap().token_id as usize] +=
            1.0 / f64::from(draws);
    }
    counts
}

fn softmax(row: &[f32], temperature: f32) -> Vec<f64> {
    let weights: Vec<f64> = row.iter().map(|logit| f64::from(logit / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

fn assert_close(left: &[f64], right: &[f64]) {
    for (i, (l, r)) in left.iter().zip(right).enumerate() {
        assert!((l - r).abs() < 0.012, "token {i}: {left:?} against {right:?}");
    }
}

#[test]
fn tokens_are_drawn_as_often_as_their_probability_says() {
    let row = [0.0, 1.0, -1.0, 0.5, 2.0];
    for temperature in [0.5, 1.0, 1.7] {
        let params = SamplingParams { temperature, ..Default::default() };
        assert_close(&frequencies(&params, &row), &softmax(&row, temperature));
    }
}

#[test]
fn truncation_keeps_the_likeliest_tokens_and_their_proportions() {
    let row = [0.0, 3.0, -1.0, 2.0, 1.0];
    let kept_two = softmax(&[3.0, 2.0], 1.0);
    let expected = [0.0, kept_two[0], 0.0, kept_two[1], 0.0];
    // The two likeliest hold 0.87 of the mass, the likeliest alone 0.64; the second has 0.37 of the first's probability.
    for params in [
        SamplingParams { top_k: 2, ..Default::default() },
        SamplingParams { top_p: 0.7, ..Default::default() },
        SamplingParams { min_p: 0.3, ..Default::default() },
    ] {
        assert_close(&frequencies(&params, &row), &expected);
    }
}

#[test]
fn greedy_takes_the_top_token_and_the_hazard_is_certain() {
    let params = SamplingParams { temperature: 0.0, ..Default::default() };
    let sample = sampler(params.clone()).sample(&[0.0, 5.0, 1.0], &mut Vec::new(), 1, 0.0).unwrap();
    assert_eq!((sample.token_id, sample.signals.eos_logprob_sampled), (1, f32::NEG_INFINITY));
    let sample = sampler(params).sample(&[0.0, 1.0, 5.0], &mut Vec::new(), 1, 0.0).unwrap();
    assert_eq!((sample.token_id, sample.signals.eos_logprob_sampled), (EOS, 0.0));
}

#[test]
fn the_eos_probability_is_summed_over_the_eos_set_and_the_whole_vocabulary() {
    let row = [1.0, 0.5, 2.0, -1.0];
    let p = softmax(&row, 1.0);
    let signals = sampler(SamplingParams::default()).sample(&row, &mut Vec::new(), 1, 0.0).unwrap().signals;
    assert!((f64::from(signals.eos_logprob) - (p[0] + p[2]).ln()).abs() < 1e-5);
    assert!((f64::from(signals.entropy) + p.iter().map(|p| p * p.ln()).sum::<f64>()).abs() < 1e-5);
    assert!((f64::from(signals.top_logprob) - p[2].ln()).abs() < 1e-5);
    assert_eq!(signals.eos_rank, 1);
}

#[test]
fn at_temperature_one_the_hazard_is_the_eos_probability() {
    let signals =
        sampler(SamplingParams::default()).sample(&[1.0, 0.5, 2.0, -1.0], &mut Vec::new(), 1, 0.0).unwrap().signals;
    assert!((signals.eos_logprob - signals.eos_logprob_sampled).abs() < 1e-5);
}

#[test]
fn the_raw_signals_do_not_see_masks_penalties_or_truncation() {
    let row = [1.0, 0.5, 2.0, 1.5];
    let plain = sampler(SamplingParams::default()).sample(&row, &mut Vec::new(), 1, 0.0).unwrap().signals;
    let params = SamplingParams {
        ignore_eos: true,
        repetition_penalty: 1.5,
        presence_penalty: 1.0,
        top_k: 1,
        temperature: 0.3,
        ..Default::default()
    };
    let altered = Sampler::new(params, 7, sets(&[0, EOS]), &[3]);
    let sample = altered.sample(&row, &mut Vec::new(), 1, 0.0).unwrap();
    assert_eq!(sample.signals.eos_logprob, plain.eos_logprob);
    assert_eq!(sample.signals.entropy, plain.entropy);
    assert_eq!(sample.signals.eos_logprob_sampled, f32::NEG_INFINITY);
    assert!((f64::from(sample.signals.token_logprob) - softmax(&row, 1.0)[sample.token_id as usize].ln()).abs() < 1e-5);
}

#[test]
fn min_tokens_keeps_eos_and_stop_tokens_out_until_then() {
    let params = SamplingParams { temperature: 0.0, min_tokens: 3, stop_token_ids: vec![3], ..Default::default() };
    let mut sampler = sampler(params);
    let row = [0.0, 1.0, 5.0, 4.0];
    let tokens: Vec<u32> = (1..=3).map(|step| next(&mut sampler, &row, step)).collect();
    assert_eq!(tokens, [1, 1, EOS]);
}

#[test]
fn penalties_count_the_reply_and_repetition_also_the_prompt() {
    let row = [0.0, 2.0, -1.0, 1.9];
    let greedy = SamplingParams { temperature: 0.0, ..Default::default() };
    let repetition = SamplingParams { repetition_penalty: 2.0, ..greedy.clone() };
    assert_eq!(
        Sampler::new(repetition, 7, sets(&[EOS]), &[1]).sample(&row, &mut Vec::new(), 1, 0.0).unwrap().token_id,
        3
    );
    let presence = SamplingParams { presence_penalty: 0.2, ..greedy.clone() };
    let mut sampler = Sampler::new(presence, 7, sets(&[EOS]), &[1]);
    assert_eq!((1..=2).map(|s| next(&mut sampler, &row, s)).collect::<Vec<_>>(), [1, 3]);
    let frequency = SamplingParams { frequency_penalty: 0.06, ..greedy };
    let mut sampler = Sampler::new(frequency, 7, sets(&[EOS]), &[]);
    assert_eq!((1..=4).map(|s| next(&mut sampler, &row, s)).collect::<Vec<_>>(), [1, 1, 3, 1]);
}

#[test]
fn a_bias_shifts_what_is_drawn_and_the_hazard_but_not_the_raw_eos_probability() {
    let row = [0.0, 1.0, 0.5];
    let params =
        SamplingParams { temperature: 2.0, logit_bias: [(0, -100.0), (EOS, 3.0)].into(), ..Default::default() };
    let shifted = softmax(&[-100.0, 1.0, 3.5], 2.0);
    assert_close(&frequencies(&params, &row), &shifted);
    let signals = sampler(params).sample(&row, &mut Vec::new(), 1, 0.0).unwrap().signals;
    let raw = softmax(&row, 1.0);
    assert!((f64::from(signals.eos_logprob) - (raw[0] + raw[2]).ln()).abs() < 1e-5);
    assert!((f64::from(signals.eos_logprob_sampled) - shifted[2].ln()).abs() < 1e-5);
}

#[test]
fn a_bias_goes_before_the_penalties() {
    let params = SamplingParams {
        temperature: 0.0,
        repetition_penalty: 2.0,
        logit_bias: [(1, 1.9)].into(),
        ..Default::default()
    };
    // (0.1 + 1.9) / 2 is below 1.2, which 0.1 / 2 + 1.9 is not.
    let sample = Sampler::new(params, 7, sets(&[EOS]), &[1]).sample(&[1.2, 0.1, -1.0], &mut Vec::new(), 1, 0.0);
    assert_eq!(sample.unwrap().token_id, 0);
}

#[test]
fn the_likeliest_tokens_come_in_falling_order_with_raw_log_probabilities() {
    let params = SamplingParams { logprobs: Some(2), ignore_eos: true, ..Default::default() };
    let row = [0.0, 1.0, 3.0, 2.0];
    let top = sampler(params).sample(&row, &mut Vec::new(), 1, 0.0).unwrap().top;
    let p = softmax(&row, 1.0);
    assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 3]);
    assert!((f64::from(top[1].1) - p[3].ln()).abs() < 1e-5);
}

#[test]
fn logits_that_are_no_distribution_give_no_token() {
    for row in [[0.0, f32::NAN, 1.0], [f32::NEG_INFINITY; 3], [0.0, f32::INFINITY, 1.0]] {
        assert_eq!(sampler(SamplingParams::default()).sample(&row, &mut Vec::new(), 1, 0.0), None);
    }
}

proptest! {
    #[test]
    fn a_draw_depends_on_seed_and_place_alone(seed: u64, step in 1u32..5000, row in prop::collection::vec(-8.0f32..8.0, 8..200)) {
        let draw = |steps_before: u32| {
            let mut sampler = Sampler::new(SamplingParams::default(), seed, sets(&[0]), &[]);
            for s in 1..=steps_before {
                next(&mut sampler, &row, s);
            }
            next(&mut sampler, &row, step)
        };
        prop_assert_eq!(draw(0), draw(3));
    }

    #[test]
    fn a_nucleus_is_the_smallest_head_that_reaches_its_share(row in prop::collection::vec(-6.0f32..6.0, 1..400), top_p in 0.01f32..0.999) {
        let candidates: Vec<Candidate> = (0u32..).zip(&row).map(|(id, logit)| (*logit, id)).collect();
        let kept = nucleus(candidates.clone(), top_p, |logit| f64::from(logit).exp());
        let mut sorted = candidates;
        sorted.sort_by(by_rank);
        prop_assert_eq!(&kept[..], &sorted[..kept.len()]);
        let share = |n: usize| sorted[..n].iter().map(|(l, _)| f64::from(*l).exp()).sum::<f64>();
        let goal = f64::from(top_p) * share(sorted.len());
        prop_assert!(share(kept.len()) >= goal * (1.0 - 1e-12));
        prop_assert!(share(kept.len() - 1) < goal * (1.0 + 1e-12));
    }
}

#[test]
fn a_raised_end_is_drawn_as_often_as_the_raised_logit_says_and_reported_as_the_model_gave_it() {
    let row = [1.0, 0.5, 0.0, -1.0];
    let raised = [1.0 + 1.5, 0.5, 0.0 + 1.5, -1.0];
    let plain = sampler(SamplingParams::default()).sample(&row, &mut Vec::new(), 1, 0.0).unwrap();
    for temperature in [0.7, 1.0] {
        let params = SamplingParams { temperature, ..Default::default() };
        let sample = sampler(params.clone()).sample(&row, &mut Vec::new(), 1, 1.5).unwrap();
        let p = softmax(&raised, temperature);
        assert!((f64::from(sample.signals.eos_logprob_sampled) - (p[0] + p[2]).ln()).abs() < 1e-5);
        assert_eq!(sample.signals.eos_logprob, plain.signals.eos_logprob);
        assert_eq!((sample.eos_bias, plain.eos_bias), (1.5, 0.0));
        let ends = (1..=10_000).filter(|step| {
            let token = sampler(params.clone()).sample(&row, &mut Vec::new(), *step, 1.5).unwrap().token_id;
            token == 0 || token == EOS
        });
        assert!((ends.count() as f64 / 10_000.0 - p[0] - p[2]).abs() < 0.015);
    }
    let greedy = SamplingParams { temperature: 0.0, ..Default::default() };
    let sample = sampler(greedy).sample(&[-9.0, 1.0, 0.5], &mut Vec::new(), 1, 1.5).unwrap();
    assert_eq!(sample.token_id, EOS);
}

#[test]
fn nothing_is_raised_where_the_reply_may_not_end() {
    let params = SamplingParams { min_tokens: 3, ..Default::default() };
    let sample = sampler(params).sample(&[9.0, 0.0, 9.0], &mut Vec::new(), 2, 50.0).unwrap();
    assert_eq!((sample.token_id, sample.eos_bias), (1, 0.0));
}

#[test]
fn sets_of_tokens_are_told_with_their_raw_probability_whatever_the_temperature() {
    let sets = Arc::new(TokenSets { sentence_end: vec![1, 3], newline: vec![], ..TokenSets::of_eos(&[EOS]) });
    let row = [0.5, 2.0, -1.0, -3.0];
    let params = SamplingParams { temperature: 0.1, ..Default::default() };
    let sample = Sampler::new(params, 7, sets, &[]).sample(&row, &mut Vec::new(), 1, 0.0).unwrap();
    let p = softmax(&row, 1.0);
    let told = sample.signals.sentence_end_logprob.unwrap();
    assert!((f64::from(told) - (p[1] + p[3]).ln()).abs() < 1e-6);
    assert_eq!(sample.signals.newline_logprob, None);
}

#[test]
fn a_set_without_any_probability_gets_the_smallest_number_and_one_with_all_of_it_zero() {
    let sets = Arc::new(TokenSets { sentence_end: vec![1], newline: vec![0, 2], ..TokenSets::of_eos(&[2]) });
    let row = [1.0, f32::NEG_INFINITY, 3.0];
    let sample = Sampler::new(SamplingParams::default(), 7, sets, &[]).sample(&row, &mut Vec::new(), 1, 0.0).unwrap();
    assert_eq!(sample.signals.sentence_end_logprob, Some(f32::MIN));
    assert!(sample.signals.newline_logprob.unwrap() > -1e-6);
}
