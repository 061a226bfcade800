use eoscast_proto::domain::{FinishReason, Forecast, ModelForecast, RequestId, WorkerId, limits};
use proptest::prelude::*;

use super::*;

fn forecast() -> ModelForecast {
    ModelForecast {
        source: "prior".into(),
        model_version: "prior/1:7".into(),
        remaining: Forecast {
            mean: 120.5,
            quantiles: std::array::from_fn(|i| i as f32),
            end_within: [0.0, 0.1, 0.25, 0.5, 1.0],
        },
    }
}

pub(crate) fn step_line() -> StepLine {
    StepLine {
        request_id: RequestId::for_test("r-1"),
        timestamp: seconds(1_700_000_000_123_456),
        step: 3,
        current_token_id: 42,
        eos_token_id: 2,
        eos_logprob: -4.5,
        eos_prob: 0.011108996,
        is_finished: false,
        finish_reason: None,
        prompt_length: 10,
        output_length: 3,
        total_length: 13,
        eos_logprob_sampled: None,
        token_logprob: -0.25,
        entropy: 1.5,
        top_logprob: -0.25,
        eos_rank: 17,
        temperature: 0.7,
        worker_id: WorkerId::for_test("w"),
        model: "smollm2-135m".into(),
        sequence_number: 9,
        task: None,
        estimate: Some(forecast()),
        max_tokens: 256,
        epoch: 5,
        ignore_eos: false,
        observed: 3,
        eos_bias: 0.0,
        sentence_end_logprob: None,
        newline_logprob: None,
        sketch: [].into(),
    }
}

const FORECAST: &str = r#"{"source":"prior","model_version":"prior/1:7","mean":120.5,"quantiles":[0.0,1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,10.0,11.0,12.0],"end_within":[0.0,0.1,0.25,0.5,1.0]}"#;

#[test]
fn a_step_line_reads_exactly_so() {
    let expected = r#"{"request_id":"r-1","timestamp":1700000000.123456,"step":3,"current_token_id":42,"eos_token_id":2,"eos_logprob":-4.5,"eos_prob":0.011108996,"is_finished":false,"finish_reason":null,"prompt_length":10,"output_length":3,"total_length":13,"eos_logprob_sampled":null,"token_logprob":-0.25,"entropy":1.5,"top_logprob":-0.25,"eos_rank":17,"temperature":0.7,"worker_id":"w","model":"smollm2-135m","sequence_number":9,"task":null,"estimate":FORECAST,"max_tokens":256,"epoch":5,"ignore_eos":false,"observed":3,"eos_bias":0.0}"#;
    assert_eq!(serde_json::to_string(&step_line()).unwrap(), expected.replace("FORECAST", FORECAST));
}

#[test]
fn a_start_line_reads_exactly_so() {
    let StepLine { request_id, timestamp, worker_id, model, .. } = step_line();
    let line = StartLine {
        request_id,
        timestamp,
        worker_id,
        epoch: 5,
        sequence_number: 6,
        model,
        eos_token_ids: vec![2, 0],
        task: Some("summarise".into()),
        prompt_length: 10,
        output_length: 0,
        max_tokens: 256,
        temperature: 0.7,
        ignore_eos: false,
        estimate: Some(forecast()),
        target_tokens: None,
        prompt_features: None,
    };
    let expected = r#"{"request_id":"r-1","timestamp":1700000000.123456,"worker_id":"w","epoch":5,"sequence_number":6,"model":"smollm2-135m","eos_token_ids":[2,0],"task":"summarise","prompt_length":10,"output_length":0,"max_tokens":256,"temperature":0.7,"ignore_eos":false,"estimate":FORECAST,"target_tokens":null}"#;
    assert_eq!(serde_json::to_string(&line).unwrap(), expected.replace("FORECAST", FORECAST));
}

#[test]
fn a_request_line_reads_exactly_so() {
    let StepLine { request_id, timestamp, worker_id, model, .. } = step_line();
    let line = RequestLine {
        request_id,
        worker_id,
        epoch: 5,
        model,
        task: Some("summarise".into()),
        timestamp,
        started_at: 1_699_999_999.5,
        finish_reason: FinishReason::Length,
        prompt_length: 10,
        output_length: 256,
        total_length: 266,
        max_tokens: 256,
        temperature: 0.7,
        ignore_eos: false,
        censored: true,
        first_estimate: Some(forecast()),
        first_length: 0,
        steps_observed: 256,
        final_eos_prob: 0.5,
        mean_eos_prob: 0.125,
        max_eos_prob: 0.5,
        std_eos_prob: 0.25,
        outcome_number: 8,
        censored_outcomes: 2,
        steered_from: Some(30),
        prompt_features: None,
        pits: None,
    };
    assert_eq!(line.outcome(), Outcome::new(29, true));
    assert_eq!(RequestLine { steered_from: None, ..line.clone() }.outcome().length, 256);
    let expected = r#"{"request_id":"r-1","worker_id":"w","epoch":5,"model":"smollm2-135m","task":"summarise","timestamp":1700000000.123456,"started_at":1699999999.5,"finish_reason":"length","prompt_length":10,"output_length":256,"total_length":266,"max_tokens":256,"temperature":0.7,"ignore_eos":false,"censored":true,"first_estimate":FORECAST,"first_length":0,"steps_observed":256,"final_eos_prob":0.5,"mean_eos_prob":0.125,"max_eos_prob":0.5,"std_eos_prob":0.25,"outcome_number":8,"censored_outcomes":2,"steered_from":30}"#;
    assert_eq!(serde_json::to_string(&line).unwrap(), expected.replace("FORECAST", FORECAST));
}

#[test]
fn lines_of_logs_without_length_control_are_read() {
    let text = serde_json::to_string(&step_line()).unwrap();
    let older: StepLine = serde_json::from_str(&text.replace(r#","eos_bias":0.0"#, "")).unwrap();
    assert_eq!(older, step_line());
}

#[test]
fn optional_signals_stand_at_the_end_of_a_step_line() {
    let line = StepLine {
        sentence_end_logprob: Some(-1.5),
        newline_logprob: Some(-2.0),
        sketch: [0.25, -1.0].into(),
        ..step_line()
    };
    let text = serde_json::to_string(&line).unwrap();
    let end = r#""eos_bias":0.0,"sentence_end_logprob":-1.5,"newline_logprob":-2.0,"sketch":[0.25,-1.0]}"#;
    assert!(text.ends_with(end), "{text}");
    assert_eq!(serde_json::from_str::<StepLine>(&text).unwrap(), line);
}

#[test]
fn lines_with_impossible_signals_are_told_apart() {
    assert!(step_line().event().is_some());
    assert!(StepLine { eos_logprob: 0.5, ..step_line() }.event().is_none());
    assert!(StepLine { entropy: -1.0, ..step_line() }.event().is_none());
    assert!(StepLine { step: 0, ..step_line() }.event().is_none());
    assert!(StepLine { newline_logprob: Some(0.5), ..step_line() }.event().is_none());
    assert!(StepLine { sketch: [0.0; limits::SKETCH + 1].into(), ..step_line() }.event().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn every_finite_f32_survives_the_text(value in any::<f32>().prop_filter("finite", |v| v.is_finite())) {
        let line = StepLine { eos_logprob: value, eos_logprob_sampled: Some(value), ..step_line() };
        let read: StepLine = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        prop_assert_eq!(read.eos_logprob.to_bits(), value.to_bits());
        prop_assert_eq!(read.eos_logprob_sampled.map(f32::to_bits), Some(value.to_bits()));
    }

    #[test]
    fn every_microsecond_survives_the_text(micros in 0i64..4_000_000_000_000_000) {
        let line = StepLine { timestamp: seconds(micros), ..step_line() };
        let read: StepLine = serde_json::from_str(&serde_json::to_string(&line).unwrap()).unwrap();
        prop_assert_eq!((read.timestamp * 1e6).round() as i64, micros);
    }
}
