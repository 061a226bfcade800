//! Where models lie: a path as it is, a known name in the model folders, a repository on the hub.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::hub::{DownloadError, Hub, HubModel};

/// Why there is no such model.
#[derive(Debug, Error)]
pub enum LocateError {
    /// A known name whose file lies nowhere.
    #[error("model `{name}` not found (looked for {looked_in}): run `make setup`, or pass the path of a gguf file")]
    NotFound {
        /// The name.
        name: String,
        /// Files tried.
        looked_in: String,
    },
    /// Neither a file nor a known name.
    #[error(
        "model `{name}` is neither a gguf file, nor a folder, nor a known name (known: {known}), nor ORGANISATION/REPOSITORY \
         or ORGANISATION/REPOSITORY:FILE.gguf on the hub"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// Names known.
        known: String,
    },
    /// A repository that the hub does not give.
    #[error(transparent)]
    Download(#[from] DownloadError),
}

/// Name of the default model, and the file that holds it.
const KNOWN: &[(&str, &str)] = &[("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf")];

/// The file or folder for `name_or_path`: an existing path, else a known name looked up in `$EOSCAST_MODELS`, `./models` and the
/// user's cache folder, else a repository on the hub, which is downloaded.
///
/// # Errors
/// Nothing found, or a download failed; says where it looked.
pub fn locate(name_or_path: &str) -> Result<PathBuf, LocateError> {
    if !Path::new(name_or_path).exists()
        && let Some(model) = HubModel::parse(name_or_path)
    {
        return Ok(model.fetch(&Hub::from_env())?);
    }
    locate_in(name_or_path, &folders(|variable| std::env::var_os(variable).map(PathBuf::from)))
}

/// The model folders, first choice first.
fn folders(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("EOSCAST_MODELS")
        .into_iter()
        .chain([PathBuf::from("models")])
        .chain(cache.map(|cache| cache.join("eoscast").join("models")))
        .collect()
}

fn locate_in(name_or_path: &str, folders: &[PathBuf]) -> Result<PathBuf, LocateError> {
    let path = Path::new(name_or_path);
    if path.exists() {
        return Ok(path.to_owned());
    }
    let Some((_, file)) = KNOWN.iter().find(|(name, _)| *name == name_or_path) else {
        return Err(LocateError::UnknownName {
            name: name_or_path.to_owned(),
            known: KNOWN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        });
    };
    let candidates: Vec<PathBuf> = folders.iter().map(|folder| folder.join(file)).collect();
    candidates.iter().find(|candidate| candidate.is_file()).cloned().ok_or_else(|| LocateError::NotFound {
        name: name_or_path.to_owned(),
        looked_in: candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_the_variable_then_models_then_the_cache() {
        let set = |variable: &str| match variable {
            "EOSCAST_MODELS" => Some(PathBuf::from("/m")),
            "HOME" => Some(PathBuf::from("/home/a")),
            _ => None,
        };
        let expected = ["/m", "models", "/home/a/.cache/eoscast/models"].map(PathBuf::from);
        assert_eq!(folders(set), expected);
    }

    #[test]
    fn a_known_name_is_found_in_the_first_folder_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
        std::fs::write(&file, b"GGUF").unwrap();
        let folders = [PathBuf::from("/nowhere"), folder.path().to_owned()];
        assert_eq!(locate_in("smollm2-135m", &folders).unwrap(), file);
    }

    #[test]
    fn an_existing_path_is_taken_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(locate_in(file.path().to_str().unwrap(), &[]).unwrap(), file.path());
    }

    #[test]
    fn a_missing_model_says_where_it_was_looked_for_and_what_to_run() {
        let error = locate_in("smollm2-135m", &[PathBuf::from("/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("/nowhere/SmolLM2") && error.contains("make setup"), "{error}");
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = locate_in("gpt-9", &[]).unwrap_err().to_string();
        assert!(error.contains("gpt-9") && error.contains("smollm2-135m"), "{error}");
    }
}
