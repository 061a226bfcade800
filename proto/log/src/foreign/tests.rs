//! Any spelling of a line reads to the same step, and no bytes do harm.

use eoscast_proto::domain::FinishReason;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::record::tests::step_line;

fn read(line: &Value) -> AnyStep {
    let (step, odd) = parse(line.to_string().as_bytes()).unwrap();
    assert!(odd.is_empty(), "{odd:?} of {line}");
    step
}

#[test]
fn our_own_lines_keep_every_bit_of_their_signals() {
    let own = step_line();
    let (step, odd) = parse(serde_json::to_string(&own).unwrap().as_bytes()).unwrap();
    assert!(odd.is_empty());
    assert_eq!(step.signals.eos_logprob_sampled, Some(f32::NEG_INFINITY), "null: it cannot end");
    assert_eq!(step.signals.all_known(), own.event().map(|event| event.signals));
    assert_eq!((step.tokens, step.token_id, step.ending), (own.step, Some(own.current_token_id), None));
    assert_eq!((step.max_tokens, step.temperature), (Some(own.max_tokens), Some(own.temperature)));
}

#[test]
fn what_is_absent_null_or_no_number_is_unknown() {
    for nothing in ["null", "NaN", "\"nan\"", "\"\"", "\"None\""] {
        let line = format!(
            "{{\"request_id\":\"a\",\"step\":1,\"eos_logprob\":{nothing},\"eos_prob\":{nothing},\"entropy\":{nothing},\
             \"prompt_length\":{nothing},\"is_finished\":{nothing},\"finish_reason\":{nothing},\"timestamp\":{nothing}}}"
        );
        let (step, odd) = parse(line.as_bytes()).unwrap();
        assert_eq!((step.signals, step.ending, odd.len()), (crate::record::Signals::default(), None, 0), "{nothing}");
        assert_eq!((step.prompt_length, step.timestamp, step.max_tokens), (None, None, None), "{nothing}");
    }
    let absent = read(&json!({ "request_id": "a", "step": 1 }));
    assert_eq!(absent.signals, crate::record::Signals::default());
    let nan = parse(b"{\"request_id\":\"a\",\"step\":1,\"eos_logprob_sampled\":NaN}").unwrap().0;
    assert_eq!(nan.signals.eos_logprob_sampled, None, "only null says that it cannot end");
}

#[test]
fn minus_infinity_is_the_logarithm_of_nought() {
    for text in ["-Infinity", "\"-inf\"", "\"-Infinity\""] {
        let line = format!("{{\"request_id\":\"a\",\"step\":1,\"eos_logprob\":{text}}}");
        let eos = parse(line.as_bytes()).unwrap().0.signals.eos_logprob.unwrap();
        assert!(eos.is_finite() && eos.exp() == 0.0, "{text}");
    }
    let by_probability = read(&json!({ "request_id": "a", "step": 1, "eos_prob": 0.0 }));
    assert_eq!(by_probability.signals.eos_logprob.map(f32::exp), Some(0.0));
}

#[test]
fn what_cannot_be_is_a_fault_that_names_the_field() {
    for (field, value, fault) in [
        ("eos_logprob", json!(0.5), "eos_logprob or eos_prob is not of a probability"),
        ("eos_prob", json!(-0.1), "eos_logprob or eos_prob is not of a probability"),
        ("token_logprob", json!(3.0), "token_logprob is not of a probability"),
        ("entropy", json!(-1.0), "entropy is negative"),
        ("step", json!(-1), "step or output_length is not a count of tokens"),
        ("step", json!(1u64 << 31), "step or output_length is of more tokens than any reply has"),
        ("output_length", json!(2.5), "step or output_length is not a count of tokens"),
        ("request_id", json!(""), "missing field `request_id`"),
        ("request_id", json!({}), "missing field `request_id`"),
        ("step", Value::Null, "missing field `step`"),
    ] {
        let mut line = json!({ "request_id": "a", "step": 1 });
        line[field] = value;
        assert_eq!(parse(line.to_string().as_bytes()).unwrap_err().kind, fault, "{line}");
    }
}

#[test]
fn values_that_are_not_understood_are_unknown_and_named() {
    let line = json!({
        "request_id": "a", "step": 1, "entropy": "high", "prompt_length": -4, "is_finished": true, "finish_reason": "banana",
        "eos_token_id": {}, "current_token_id": 2,
    });
    let (step, mut odd) = parse(line.to_string().as_bytes()).unwrap();
    odd.sort_unstable();
    assert_eq!(odd, ["entropy", "eos_token_id", "finish_reason", "prompt_length"]);
    assert_eq!((step.signals.entropy, step.prompt_length, step.ending), (None, None, Some(Ending::Unknown)));
}

#[test]
fn an_end_without_a_reason_is_known_by_its_token() {
    let line = |token: u32, eos: Value| {
        read(&json!({ "request_id": "a", "step": 1, "is_finished": true, "current_token_id": token, "eos_token_id": eos }))
            .ending
    };
    let stop = Some(Ending::By(FinishReason::Stop));
    assert_eq!(line(2, json!(2)), stop);
    assert_eq!(line(9, json!([2, 9])), stop);
    assert_eq!(line(9, json!("[2, 9]")), stop);
    assert_eq!(line(3, json!([2, 9])), Some(Ending::Unknown));
    let reason_alone = json!({ "request_id": "a", "step": 1, "finish_reason": "length" });
    assert_eq!(read(&reason_alone).ending, Some(Ending::By(FinishReason::Length)));
    let told_no = json!({ "request_id": "a", "step": 1, "finish_reason": "length", "is_finished": false });
    assert_eq!(read(&told_no).ending, None);
}

/// The twelve classic fields of one line.
fn classic() -> impl Strategy<Value = Value> {
    let reasons = prop_oneof![Just("stop"), Just("length"), Just("abort"), Just("error")];
    (0u32..1000, 1u32..100_000, 0u32..150_000, -80.0f32..0.0, any::<bool>(), reasons, 0u32..9000).prop_map(
        |(id, step, token, eos_logprob, is_finished, reason, prompt)| {
            json!({
                "request_id": id.to_string(), "timestamp": 1.7e9 + f64::from(step), "step": step, "current_token_id": token,
                "eos_token_id": 2, "eos_logprob": eos_logprob, "eos_prob": eos_logprob.exp(), "is_finished": is_finished,
                "finish_reason": is_finished.then_some(reason), "prompt_length": prompt, "output_length": step,
                "total_length": prompt + step,
            })
        },
    )
}

/// Another spelling of a value of `field`.
fn respelled(field: &str, value: &Value, choice: u8) -> Value {
    match (field, value, choice % 5) {
        (_, value, 0) => value.clone(),
        ("finish_reason", Value::String(name), choice) => {
            let code = ["stop", "length", "abort", "error"].iter().position(|known| known == name).unwrap();
            let upper = name.to_uppercase();
            match choice {
                1 => json!(code),
                2 => json!(code.to_string()),
                3 => json!(format!("FinishReason.{upper}")),
                _ => json!({ "type": name }),
            }
        }
        ("eos_token_id", value, 1) => json!([value, 77]),
        ("request_id", Value::String(id), 1 | 2) => json!(id.parse::<u32>().unwrap()),
        ("request_id", Value::String(id), _) => json!(id.parse::<f64>().unwrap()),
        (_, Value::Bool(flag), 1) => json!(u8::from(*flag)),
        (_, Value::Bool(flag), 2) => json!(if *flag { "True" } else { "false" }),
        (_, Value::Number(number), 1) => json!(number.as_f64()),
        (_, Value::Number(number), 2) => json!(number.to_string()),
        (_, Value::Number(number), 3) => json!([number]),
        (_, Value::Null, 1) => json!("nan"),
        (_, value, _) => value.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_spelling_of_a_line_reads_to_the_same_step(line in classic(), choices in proptest::collection::vec(any::<u8>(), 12)) {
        let Value::Object(fields) = &line else { unreachable!() };
        let other: Value = fields.iter().zip(choices).map(|((field, value), choice)| {
            (field.clone(), respelled(field, value, choice))
        }).collect::<serde_json::Map<_, _>>().into();
        prop_assert_eq!(read(&other), read(&line), "{}", other);
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_change_of_a_line_does_harm(line in classic(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = line.to_string().into_bytes();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok((step, _)) = parse(&bytes) {
            prop_assert!(step.signals.eos_logprob.is_none_or(|logprob| logprob.is_finite() && logprob <= 0.0));
        }
    }

    #[test]
    fn no_json_does_harm(text in "[\\[\\]{}:,\"0-9eE+.a-zNIf -]{0,200}") {
        let _ = parse(format!("{{\"request_id\":\"a\",\"step\":1,\"eos_logprob\":{text}}}").as_bytes());
    }
}
