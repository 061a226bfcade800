use std::sync::Arc;

use eoscast_log::prompt::PromptFeatures;
use eoscast_log::record::Signals;
use eoscast_proto::domain::{StepSignals, limits};
use proptest::prelude::*;

use super::*;

const ARRIVAL: Arrival =
    Arrival { prompt_length: Some(12), max_tokens: Some(300), temperature: Some(0.7), ..Arrival::for_test() };

fn event(step: u32, eos_logprob: f32, entropy: f32) -> StepEvent {
    StepEvent {
        step,
        token_id: 7,
        signals: StepSignals {
            eos_logprob,
            eos_logprob_sampled: eos_logprob,
            entropy,
            top_logprob: -0.5,
            eos_rank: 9,
            ..StepSignals::for_test()
        },
        ..StepEvent::for_test("r")
    }
}

fn feature(row: &FeatureRow, name: &str) -> f64 {
    f64::from(row.values[FEATURE_NAMES.iter().position(|n| *n == name).expect("a feature of this name")])
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * (1.0 + b.abs())
}

fn naive(values: &[f32]) -> [f64; 3] {
    let n = values.len() as f64;
    let mean = values.iter().copied().map(f64::from).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    [mean, values.iter().copied().fold(f32::MIN, f32::max).into(), variance.sqrt()]
}

#[test]
fn the_state_of_a_request_stays_small() {
    assert!(size_of::<FeatureState>() <= 2048, "{} bytes", size_of::<FeatureState>());
}

#[test]
fn before_the_first_step_only_the_arrival_is_known() {
    let prompt = PromptFeatures::of("Write an essay of 300 words.");
    let row = FeatureState::new(Arrival { prompt: Some(prompt), ..ARRIVAL }, 0).row();
    assert_eq!(row.values[..32], [0.0; 32]);
    assert_eq!(row.values[32..36], [0.0, 12.0, 300.0, 0.7]);
    assert_eq!(row.values[36..39], [0.0, 13f32.ln(), 301f32.ln()]);
    assert_eq!(row.values[39..60], [0.0; 21]);
    assert_eq!(row.values[60], 1.0);
    assert_eq!(row.values[61..], prompt.values);
    assert_eq!(row.sketches, [[0.0; 64]; 3]);
}

#[test]
fn the_sketch_of_the_first_step_stays_as_that_of_the_prompt() {
    let mut state = FeatureState::new(ARRIVAL, 0);
    state.observe(&StepEvent { sketch: [1.0, -2.0].into(), ..event(1, -3.0, 1.0) });
    let row = state.observe(&StepEvent { sketch: [17.0, 14.0].into(), ..event(2, -3.0, 1.0) });
    let starts: Vec<[f32; 3]> = row.sketches.iter().map(|s| [s[0], s[1], s[2]]).collect();
    assert_eq!(starts, [[17.0, 14.0, 0.0], [2.0, -1.0, 0.0], [1.0, -2.0, 0.0]]);
    assert_eq!((feature(&row, "sketch_known"), feature(&row, "prompt_sketch_known")), (1.0, 1.0));
}

#[test]
fn a_step_without_a_sketch_goes_on_with_the_last_one() {
    let observe = |sketches: [Arc<[f32]>; 4]| {
        let mut state = FeatureState::new(ARRIVAL, 0);
        let rows =
            (1..).zip(sketches).map(|(step, sketch)| state.observe(&StepEvent { sketch, ..event(step, -3.0, 1.0) }));
        rows.last().unwrap().sketches
    };
    let none: Arc<[f32]> = [].into();
    let (a, b): (Arc<[f32]>, Arc<[f32]>) = ([1.0, -2.0].into(), [4.0, 8.0].into());
    assert_eq!(
        observe([a.clone(), none.clone(), b.clone(), none.clone()]),
        observe([a.clone(), a.clone(), b.clone(), b.clone()])
    );
    assert_ne!(observe([a.clone(), none.clone(), none.clone(), none]), observe([a, b.clone(), b.clone(), b]));
}

#[test]
fn the_sketch_of_a_later_step_is_not_that_of_the_prompt() {
    let mut state = FeatureState::new(ARRIVAL, 4);
    let row = state.observe(&StepEvent { sketch: [1.0].into(), ..event(5, -3.0, 1.0) });
    assert_eq!((row.sketches[2][0], feature(&row, "prompt_sketch_known")), (0.0, 0.0));
}

#[test]
fn a_reply_that_runs_in_a_circle_is_all_repetition() {
    let share = |token: fn(u32) -> u32| {
        let mut state = FeatureState::new(ARRIVAL, 0);
        let rows = (1..=200).map(|step| state.observe(&StepEvent { token_id: token(step), ..event(step, -3.0, 1.0) }));
        rows.last().map(|row| feature(&row, "repetition_64"))
    };
    assert_eq!(share(|step| step % 5), Some(1.0));
    assert_eq!(share(|step| step), Some(0.0));
}

#[test]
fn line_breaks_are_counted_by_their_probability() {
    let mut state = FeatureState::new(ARRIVAL, 0);
    let rows = [0.1f32, 0.9, 0.2].map(f32::ln).into_iter().zip(1..).map(|(logprob, step)| {
        let mut event = event(step, -3.0, 1.0);
        event.signals.newline_logprob = Some(logprob);
        state.observe(&event)
    });
    let row = rows.last().unwrap();
    assert!(close(feature(&row, "expected_newlines"), 2.2f64.ln()));
    assert_eq!((feature(&row, "steps_since_newline"), feature(&row, "newline_known")), (1.0, 1.0));
    assert_eq!(feature(&row, "sentence_end_known"), 0.0);
}

#[test]
fn the_hazard_adds_up() {
    let mut state = FeatureState::new(ARRIVAL, 0);
    state.observe(&event(1, 0.25f32.ln(), 1.0));
    let row = state.observe(&event(2, 0.5f32.ln(), 1.0));
    assert!(close(feature(&row, "hazard_sum"), 0.75) && close(feature(&row, "hazard"), 0.5));
}

#[test]
fn extreme_signals_give_finite_features() {
    let mut state = FeatureState::new(ARRIVAL, 0);
    for step in 1..200 {
        let logprob = if step % 2 == 0 { f32::MIN } else { -0.0 };
        let mut event = StepEvent { sketch: [f32::MAX, f32::MIN].into(), ..event(step, logprob, f32::MAX) };
        event.signals.eos_logprob_sampled = f32::NEG_INFINITY;
        event.signals.sentence_end_logprob = Some(logprob);
        event.signals.eos_rank = if step % 2 == 0 { 0 } else { u32::MAX };
        event.signals.token_logprob = logprob;
        let row = state.observe(&event);
        let numbers = row.values.iter().chain(row.sketches.as_flattened());
        assert!(numbers.copied().all(f32::is_finite), "step {step}: {row:?}");
    }
}

#[test]
fn what_is_not_known_is_no_number_among_the_inputs() {
    let unknown = |row: &FeatureRow| row.inputs().iter().filter(|input| input.is_nan()).count();
    let mut state = FeatureState::new(ARRIVAL, 0);
    assert_eq!(unknown(&state.row()), 32 + 9 + 2 + 3 + 3 + 40 + 3 * limits::SKETCH);
    assert_eq!(unknown(&state.prefilled(&[1.0])), 32 + 9 + 2 + 3 + 3 + 40 + 2 * limits::SKETCH);
    let mut whole = StepEvent { sketch: [1.0].into(), ..event(1, -1.0, 1.0) };
    (whole.signals.sentence_end_logprob, whole.signals.newline_logprob) = (Some(-1.0), Some(-1.0));
    assert_eq!(unknown(&state.observe(&whole)), 40);
}

#[test]
fn a_gap_in_the_steps_does_not_lose_the_age_of_the_maximum() {
    let mut state = FeatureState::new(ARRIVAL, 0);
    state.observe(&event(1, -0.1, 1.0));
    let row = state.observe(&event(9, -3.0, 1.0));
    assert_eq!(feature(&row, "steps_since_eos_prob_max"), 8.0);
}

/// What is known of step `step`; nothing but the entropy where the EOS probability is not.
fn partly(step: u32, eos_logprob: Option<f32>) -> Observed<'static> {
    let signals = Signals { eos_logprob, entropy: Some(1.0), ..Signals::default() };
    Observed { step, token_id: None, signals, sketch: [].as_slice().into() }
}

fn input(row: &FeatureRow, name: &str) -> Option<f32> {
    let value = row.inputs()[FEATURE_NAMES.iter().position(|n| *n == name).expect("a feature of this name")];
    (!value.is_nan()).then_some(value)
}

#[test]
fn a_signal_that_is_not_told_is_no_number_and_windows_go_on_over_what_is_known() {
    let mut state = FeatureState::new(Arrival { max_tokens: None, temperature: None, ..ARRIVAL }, 0);
    let row = state.take(&partly(1, None));
    assert!(
        ["eos_prob", "eos_logprob_mean_all", "eos_prob_max_64", "eos_logprob_slope_16", "steps_since_eos_prob_max"]
            .iter()
            .all(|name| input(&row, name).is_none())
    );
    assert_eq!((input(&row, "entropy"), input(&row, "entropy_mean_16")), (Some(1.0), Some(1.0)));
    for never in
        ["hazard", "hazard_sum", "token_logprob", "eos_rank_ln_decayed", "repetition_64", "max_tokens", "temperature"]
    {
        assert_eq!(input(&row, never), None, "{never}");
    }
    assert!(row.values.iter().all(|value| value.is_finite()));
    state.take(&partly(2, Some(-4.0)));
    state.take(&partly(3, None));
    let row = state.take(&partly(4, Some(-2.0)));
    assert_eq!(input(&row, "eos_logprob_mean_16"), Some(-3.0));
    assert_eq!(input(&row, "eos_logprob_slope_16"), Some(1.0), "two nats in two steps");
    let row = state.take(&partly(5, None));
    assert_eq!((input(&row, "eos_logprob"), input(&row, "eos_logprob_max_all")), (None, Some(-2.0)));
    assert_eq!(input(&row, "steps_since_eos_prob_max"), Some(1.0));
    assert_ne!(row.chance(), state.take(&partly(6, None)).chance());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rolling_features_equal_a_recomputation(events in proptest::collection::vec((-30.0f32..0.0, 0.0f32..10.0), 1..200)) {
        let mut state = FeatureState::new(ARRIVAL, 0);
        let (mut logprobs, mut entropies) = (vec![], vec![]);
        for (i, (eos_logprob, entropy)) in events.into_iter().enumerate() {
            let row = state.observe(&event(i as u32 + 1, eos_logprob, entropy));
            logprobs.push(eos_logprob);
            entropies.push(entropy);
            let probs: Vec<f32> = logprobs.iter().map(|l| l.exp()).collect();
            for (signal, values) in [("eos_prob", &probs), ("eos_logprob", &logprobs), ("entropy", &entropies)] {
                prop_assert_eq!(feature(&row, signal), f64::from(values[i]));
                for (window, width) in [("all", usize::MAX), ("16", 16), ("64", 64)] {
                    let expected = naive(&values[values.len().saturating_sub(width)..]);
                    for (statistic, expected) in ["mean", "max", "std"].iter().zip(expected) {
                        let name = format!("{signal}_{statistic}_{window}");
                        prop_assert!(close(feature(&row, &name), expected), "{} is not {}", name, expected);
                    }
                }
            }
            let latest_max = probs.iter().rposition(|p| *p == naive(&probs)[1] as f32).unwrap();
            prop_assert_eq!(feature(&row, "steps_since_eos_prob_max"), (i - latest_max) as f64);
            let last = &logprobs[logprobs.len().saturating_sub(16)..];
            let n = last.len() as f64;
            let (xm, ym) = ((n - 1.0) / 2.0, naive(last)[0]);
            let sxy: f64 = last.iter().enumerate().map(|(x, y)| (x as f64 - xm) * (f64::from(*y) - ym)).sum();
            let sxx: f64 = (0..last.len()).map(|x| (x as f64 - xm).powi(2)).sum();
            let slope = if sxx > 0.0 { sxy / sxx } else { 0.0 };
            prop_assert!(close(feature(&row, "eos_logprob_slope_16"), slope));
        }
    }
}
