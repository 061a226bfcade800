//! The artifact that ships: trained on replies of SmolLM2-135M-Instruct.

use super::artifact::Artifact;

const NAME: &str = "shipped/smollm2-135m-instruct.safetensors";
static BYTES: &[u8] = include_bytes!("../../artifacts/smollm2-135m-instruct.safetensors");

/// The artifact that this crate carries.
///
/// # Errors
/// When this version does not understand it.
pub fn shipped() -> anyhow::Result<Artifact> {
    Ok(Artifact::parse(BYTES)?.at(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;
    use crate::models::artifact::card;
    use crate::models::{ModelKind, Serving};

    #[test]
    fn the_shipped_model_serves_the_default_model_under_its_names() {
        let artifact = shipped().unwrap();
        let serving = Serving::new(artifact.kind, Some(&artifact), &History::default());
        for name in ["smollm2-135m", "SmolLM2-135M-Instruct.Q4_1", "HuggingFaceTB/SmolLM2-135M-Instruct"] {
            assert!(serving.serves(name), "{name}");
        }
        for name in ["SmolLM2-135M", "SmolLM2-360M-Instruct", ""] {
            assert!(!serving.serves(name) && serving.model_for(name).name() == ModelKind::Prior.as_str(), "{name}");
        }
    }

    #[test]
    fn the_shipped_artifact_is_made_by_its_command_under_the_name_that_the_tool_has_now() {
        let artifact = shipped().unwrap();
        let shipped_card = artifact.card.clone().unwrap();
        let now = shipped_card.command.replace("eoscast-predictor train", "eoscast-lab train");
        assert_ne!(now, shipped_card.command);
        let mut same_version = artifact;
        same_version.card.as_mut().unwrap().libraries = card(ModelKind::Survival, "").libraries;
        assert!(same_version.is_made_by(&now, &shipped_card.data_hash));
        assert!(!same_version.is_made_by(&format!("{now} --seed 9"), &shipped_card.data_hash));
    }
}
