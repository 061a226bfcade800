//! The artifact that ships: trained on replies of SmolLM2-135M-Instruct.

use std::path::{Path, PathBuf};

use super::{Artifact, ModelKind};

const NAME: &str = "shipped/smollm2-135m-instruct.safetensors";
static BYTES: &[u8] = include_bytes!("../../artifacts/smollm2-135m-instruct.safetensors");

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This program.
    Shipped,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// Reads the artifact.
    ///
    /// # Errors
    /// When the file cannot be read or is not an artifact this version understands.
    pub fn load(&self) -> anyhow::Result<Artifact> {
        match self {
            Self::Shipped => Artifact::of_bytes(Path::new(NAME), BYTES),
            Self::File(path) => Artifact::load(path),
        }
    }

    /// What a predictor starts with: `kind` from the artifact at `path`. Without either it is the model that ships; without
    /// `kind`, that of the artifact; a kind that needs an artifact and has none takes the one that ships.
    ///
    /// # Errors
    /// When the artifact cannot be used, or is not one of `kind`.
    pub fn choose(
        kind: Option<ModelKind>,
        path: Option<&Path>,
    ) -> anyhow::Result<(ModelKind, Option<(Self, Artifact)>)> {
        let source = match (kind, path) {
            (_, Some(path)) => Some(Self::File(path.to_owned())),
            (None, None) => Some(Self::Shipped),
            (Some(kind), None) => Some(Self::Shipped).filter(|_| kind.is_trained()),
        };
        let loaded = source.map(|source| source.load().map(|artifact| (source, artifact))).transpose()?;
        let artifact = loaded.as_ref().map(|(_, artifact)| artifact);
        let kind = kind.or(artifact.map(|artifact| artifact.kind)).unwrap_or(ModelKind::Prior);
        kind.check(artifact)?;
        Ok((kind, loaded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{History, Serving};

    #[test]
    fn without_flags_the_shipped_model_serves_the_default_model_under_its_names() {
        let (kind, chosen) = Source::choose(None, None).unwrap();
        let (source, artifact) = chosen.unwrap();
        assert_eq!((kind, source), (artifact.kind, Source::Shipped));
        let serving = Serving::new(kind, Some(&artifact), &History::default());
        for name in ["smollm2-135m", "SmolLM2-135M-Instruct.Q4_1", "HuggingFaceTB/SmolLM2-135M-Instruct"] {
            assert!(serving.serves(name), "{name}");
        }
        for name in ["SmolLM2-135M", "SmolLM2-360M-Instruct", ""] {
            assert!(!serving.serves(name) && serving.model_for(name).kind() == ModelKind::Prior, "{name}");
        }
    }

    #[test]
    fn a_model_named_is_the_one_that_serves() {
        assert!(matches!(Source::choose(Some(ModelKind::Prior), None), Ok((ModelKind::Prior, None))));
        assert_eq!(Source::choose(Some(ModelKind::Survival), None).unwrap().0, ModelKind::Survival);
        let error = format!("{:#}", Source::choose(Some(ModelKind::Forest), None).unwrap_err());
        assert!(error.contains("model forest") && error.contains("kind survival"), "{error}");
    }
}
