//! Generate requests: what is asked for arrives, defaults are the documented ones, and wrong fields are refused by name.

use eoscast_proto::domain::{GenerateSpec, Input, LengthControl, SamplingParams};
use eoscast_proto::worker::v1 as pb;
use pb::generate_request::Input as WireInput;

fn request() -> pb::GenerateRequest {
    pb::GenerateRequest { input: Some(WireInput::Text("hello".into())), ..Default::default() }
}

#[test]
fn absent_sampling_parameters_mean_the_documented_defaults() {
    let spec = GenerateSpec::try_from(request()).unwrap();
    assert_eq!(spec.sampling, SamplingParams::default());
    assert_eq!((spec.request_id, spec.task, spec.priority), (None, None, 0));
    assert_eq!(spec.input, Input::Text("hello".into()));
}

#[test]
fn every_sampling_parameter_arrives() {
    let wire = pb::SamplingParams {
        temperature: Some(0.0),
        top_p: Some(0.5),
        top_k: 40,
        min_p: 0.1,
        repetition_penalty: Some(1.2),
        frequency_penalty: 0.3,
        presence_penalty: -0.4,
        max_tokens: Some(9),
        min_tokens: 2,
        stop: vec!["\n\n".into()],
        stop_token_ids: vec![7],
        ignore_eos: true,
        seed: Some(0),
        logprobs: Some(0),
        length_control: None,
        logit_bias: [(7, -100.0), (9, 2.5)].into(),
    };
    let expected = SamplingParams {
        temperature: 0.0,
        top_p: 0.5,
        top_k: 40,
        min_p: 0.1,
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        presence_penalty: -0.4,
        max_tokens: Some(9),
        min_tokens: 2,
        stop: vec!["\n\n".into()],
        stop_token_ids: vec![7],
        ignore_eos: true,
        seed: Some(0),
        logprobs: Some(0),
        prompt_logprobs: false,
        length_control: None,
        logit_bias: [(7, -100.0), (9, 2.5)].into(),
    };
    let spec = GenerateSpec::try_from(pb::GenerateRequest { sampling_params: Some(wire), ..request() }).unwrap();
    assert_eq!(spec.sampling, expected);
}

fn control(target_tokens: u32, strength: Option<f32>) -> Option<pb::LengthControl> {
    Some(pb::LengthControl { target_tokens, strength })
}

#[test]
fn length_control_has_a_default_strength() {
    for (given, expected) in [(None, LengthControl::DEFAULT_STRENGTH), (Some(2.5), 2.5)] {
        let sampling_params = Some(pb::SamplingParams { length_control: control(48, given), ..Default::default() });
        let spec = GenerateSpec::try_from(pb::GenerateRequest { sampling_params, ..request() }).unwrap();
        let expected = LengthControl { target_tokens: 48, strength: expected };
        assert_eq!(spec.sampling.length_control, Some(expected));
    }
}

#[test]
fn each_wrong_sampling_parameter_is_refused_by_name() {
    type Spoil = fn(&mut pb::SamplingParams);
    let cases: &[(&str, Spoil)] = &[
        ("temperature", |s| s.temperature = Some(-0.1)),
        ("temperature", |s| s.temperature = Some(f32::NAN)),
        ("top_p", |s| s.top_p = Some(0.0)),
        ("top_p", |s| s.top_p = Some(1.1)),
        ("min_p", |s| s.min_p = -0.1),
        ("repetition_penalty", |s| s.repetition_penalty = Some(0.0)),
        ("repetition_penalty", |s| s.repetition_penalty = Some(f32::INFINITY)),
        ("frequency_penalty", |s| s.frequency_penalty = 2.1),
        ("presence_penalty", |s| s.presence_penalty = -2.1),
        ("max_tokens", |s| s.max_tokens = Some(0)),
        ("min_tokens", |s| (s.max_tokens, s.min_tokens) = (Some(3), 4)),
        ("stop", |s| s.stop = vec!["x".into(); 65]),
        ("stop[1]", |s| s.stop = vec!["x".into(), String::new()]),
        ("stop[0]", |s| s.stop = vec!["x".repeat(1 << 20)]),
        ("stop_token_ids", |s| s.stop_token_ids = vec![1; 257]),
        ("logprobs", |s| s.logprobs = Some(21)),
        ("length_control.target_tokens", |s| s.length_control = control(0, None)),
        ("length_control.strength", |s| s.length_control = control(9, Some(0.0))),
        ("length_control.strength", |s| s.length_control = control(9, Some(f32::NAN))),
        ("length_control.strength", |s| s.length_control = control(9, Some(101.0))),
        ("length_control", |s| (s.length_control, s.ignore_eos) = (control(9, None), true)),
        ("logit_bias", |s| s.logit_bias = (0..1025).map(|id| (id, 1.0)).collect()),
        ("logit_bias.7", |s| s.logit_bias = [(7, -100.5)].into()),
        ("logit_bias.7", |s| s.logit_bias = [(7, f32::NAN)].into()),
    ];
    for (field, spoil) in cases {
        let mut sampling = pb::SamplingParams::default();
        spoil(&mut sampling);
        let message = pb::GenerateRequest { sampling_params: Some(sampling), ..request() };
        assert_eq!(GenerateSpec::try_from(message).unwrap_err().field, format!("sampling_params.{field}"));
    }
}

#[test]
fn each_wrong_field_of_the_request_is_refused_by_name() {
    let chat = |role: &str| {
        let messages = vec![pb::ChatMessage { role: role.into(), content: "hi".into() }];
        Some(WireInput::Chat(pb::ChatInput { messages }))
    };
    let cases = [
        ("input", pb::GenerateRequest { input: None, ..request() }),
        ("text", pb::GenerateRequest { input: Some(WireInput::Text(String::new())), ..request() }),
        (
            "token_ids.ids",
            pb::GenerateRequest { input: Some(WireInput::TokenIds(pb::TokenIds::default())), ..request() },
        ),
        ("chat.messages", pb::GenerateRequest { input: Some(WireInput::Chat(pb::ChatInput::default())), ..request() }),
        ("chat.messages[0].role", pb::GenerateRequest { input: chat("robot"), ..request() }),
        ("request_id", pb::GenerateRequest { request_id: "a b".into(), ..request() }),
        ("task", pb::GenerateRequest { task: "x".repeat(65), ..request() }),
    ];
    for (field, message) in cases {
        assert_eq!(GenerateSpec::try_from(message).unwrap_err().field, field);
    }
}
