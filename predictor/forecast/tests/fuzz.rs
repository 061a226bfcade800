//! Fuzz targets of model artifacts: a second of inputs each as tests, hours by a fuzzer (see CONTRIBUTING.md).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eoscast_forecast::features::FeatureState;
use eoscast_forecast::forecast::forecast;
use eoscast_forecast::history::History;
use eoscast_forecast::models::{Artifact, Serving};
use eoscast_log::record::Arrival;

const SHIPPED: &[u8] = include_bytes!("../artifacts/smollm2-135m-instruct.safetensors");
const OUTCOMES: &str = r#"{"format":"eoscast-artifact/1","kind":"prior","feature_version":1,"trained_for":"smollm2-135m","window":2000,"outcomes":[[12,false],[768,true],[40,false]]}"#;

/// Bytes that are no artifact are refused in words, and one that is forecasts.
fn load(bytes: &[u8]) {
    match Artifact::parse(bytes) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(artifact) => {
            let serving = Serving::new(artifact.kind, Some(&artifact), &History::default());
            let arrival = Arrival {
                prompt_length: Some(5),
                max_tokens: Some(256),
                temperature: Some(1.0),
                ignore_eos: false,
                prompt: None,
            };
            let row = FeatureState::new(arrival, 0).row();
            let remaining = forecast(serving.model(), &row, &mut serving.model().memory()).remaining;
            assert!(remaining.mean.is_finite() && remaining.quantiles.iter().all(|q| q.is_finite()), "{remaining:?}");
        }
    }
}

#[test]
fn any_bytes_as_an_artifact() {
    bolero::check!().for_each(load);
}

#[test]
fn any_change_of_an_artifact() {
    // Length of the header, which describes the tensors. Most changes are made there.
    let header = 8 + usize::try_from(u64::from_le_bytes(SHIPPED[..8].try_into().unwrap())).unwrap();
    // Bytes that are set in the header, bytes that are set anywhere, and how many are cut off at the end.
    type Change = (Vec<(u16, u8)>, Vec<(u32, u8)>, Option<u16>);
    bolero::check!().with_type::<Change>().for_each(|(in_header, anywhere, cut)| {
        let mut bytes = SHIPPED.to_vec();
        for (place, byte) in in_header {
            bytes[usize::from(*place) % header] = *byte;
        }
        for (place, byte) in anywhere {
            let place = *place as usize % bytes.len();
            bytes[place] = *byte;
        }
        bytes.truncate(SHIPPED.len() - cut.map_or(0, usize::from));
        load(&bytes);
    });
}

#[test]
fn any_change_of_a_file_of_outcomes() {
    type Change = (Vec<(u8, u8)>, Vec<(u32, bool)>, Option<u8>);
    bolero::check!().with_type::<Change>().for_each(|(set, outcomes, end)| {
        let more: Vec<String> = outcomes.iter().map(|(length, censored)| format!(",[{length},{censored}]")).collect();
        let mut bytes = OUTCOMES.replace("]]", &format!("]{}]", more.concat())).into_bytes();
        for (place, byte) in set {
            let place = usize::from(*place) % bytes.len();
            bytes[place] = *byte;
        }
        bytes.truncate(end.map_or(bytes.len(), usize::from));
        load(&bytes);
    });
}
