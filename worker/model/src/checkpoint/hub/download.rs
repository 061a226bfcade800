//! Models of the Hugging Face hub, or of a server that speaks its protocol, downloaded into the hub's usual cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo};
use thiserror::Error;

use super::super::gguf::ShardName;
use super::json::parse_json;
use super::shards::{SHARD_INDEX, ShardIndex, WEIGHTS};

/// Files beside the weights that we read where a repository has them.
const SMALL_FILES: &[&str] = &[
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    SHARD_INDEX,
];

const ENDPOINT: &str = "https://huggingface.co";

/// A file of a repository that the hub does not give.
#[derive(Debug, Error)]
#[error(
    "model `{model}`: {file} cannot be downloaded from {endpoint}: {problem}; set HF_ENDPOINT to a hub that can be \
     reached (and HF_TOKEN if it asks for one), or pass the path of a gguf file or of a downloaded folder"
)]
pub struct DownloadError {
    /// What was asked for.
    pub model: String,
    /// The file in the repository.
    pub file: String,
    /// The hub's address.
    pub endpoint: String,
    /// What the download library says.
    pub problem: String,
}

/// A server and the folder where its files are kept.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Its address.
    pub endpoint: String,
    /// The cache's folder, `hub` in `$HF_HOME`; shared with the hub's other clients.
    pub cache: PathBuf,
    /// For repositories that ask who one is.
    pub token: Option<String>,
}

impl Hub {
    /// As `HF_ENDPOINT`, `HF_HOME` (else the user's cache folder) and `HF_TOKEN` (else the cache's token file) say.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let user_cache = || {
            let home = variable("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
            variable("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from).join("huggingface")
        };
        let cache = variable("HF_HOME").map_or_else(user_cache, PathBuf::from).join("hub");
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: variable("HF_TOKEN").or_else(|| Cache::new(cache.clone()).token()),
            cache,
        }
    }
}

/// A model on the hub: a repository in safetensors, or one GGUF file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    repository: String,
    file: Option<String>,
}

impl HubModel {
    /// Reads `ORGANISATION/REPOSITORY` or `ORGANISATION/REPOSITORY:FILE.gguf`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, file) = match text.split_once(':') {
            Some((repository, file)) => (repository, Some(file)),
            None => (text, None),
        };
        let plain = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed)
        };
        let (organisation, name) = repository.split_once('/')?;
        let is_gguf = |file: &str| file.ends_with(".gguf") && file.split('/').all(plain);
        // A repository is not called like a file: that is a path mistyped.
        let valid = plain(organisation) && plain(name) && !name.ends_with(".gguf") && file.is_none_or(is_gguf);
        valid.then(|| Self { repository: repository.to_owned(), file: file.map(str::to_owned) })
    }

    /// The GGUF file (of a split model the first one, with the others beside it), or the folder of the repository: from the cache
    /// if it is complete there, else downloaded, with a bar on the terminal. What the cache has is used as it is, so that a worker
    /// starts without the hub.
    ///
    /// # Errors
    /// The hub cannot be reached or has no such model; the cache cannot be written.
    pub fn fetch(&self, hub: &Hub) -> Result<PathBuf, DownloadError> {
        let cache = Cache::new(hub.cache.clone());
        let cached = |file: &str| cache.model(self.repository.clone()).get(file);
        let problem = |file: &str, problem: String| DownloadError {
            model: self.repository.clone(),
            file: file.to_owned(),
            endpoint: hub.endpoint.clone(),
            problem,
        };
        let failed = |file: &str, error: ApiError| problem(file, error.to_string());
        let connect = || -> Result<ApiRepo, ApiError> {
            let builder = ApiBuilder::from_cache(cache.clone()).with_token(hub.token.clone());
            let api = builder.with_endpoint(hub.endpoint.trim_end_matches('/').to_owned()).build()?;
            Ok(api.repo(Repo::model(self.repository.clone())))
        };

        if let Some(file) = &self.file {
            let files = match ShardName::parse(file) {
                Some(shard) => shard.all().map_err(|error| problem(file, error.to_string()))?,
                None => vec![file.clone()],
            };
            let get = |file: &String| match cached(file) {
                Some(path) => Ok(path),
                None => connect().and_then(|repository| repository.download(file)).map_err(|error| failed(file, error)),
            };
            let paths = files.iter().map(get).collect::<Result<Vec<_>, _>>()?;
            return paths.into_iter().next().ok_or_else(|| problem(file, "is no file".to_owned()));
        }
        if let Some(folder) = cached("config.json").and_then(|config| complete_folder(&config)) {
            return Ok(folder);
        }
        let repository = connect().map_err(|error| failed("config.json", error))?;
        let info = repository.info().map_err(|error| failed("its list of files", error))?;
        let has = |file: &str| info.siblings.iter().any(|sibling| sibling.rfilename == file);
        let get = |file: &str| repository.get(file).map_err(|error| failed(file, error));
        // The weights last: where they are complete, all else is.
        for file in SMALL_FILES.iter().filter(|file| has(file)) {
            get(file)?;
        }
        let config = get("config.json")?;
        let shards = match has(SHARD_INDEX) {
            true => shards(&get(SHARD_INDEX)?).map_err(|reason| problem(SHARD_INDEX, reason))?,
            false => BTreeSet::from([WEIGHTS.to_owned()]),
        };
        for shard in &shards {
            get(shard)?;
        }
        let folder = complete_folder(&config);
        folder.ok_or_else(|| problem("config.json", "the repository changed meanwhile: start again".to_owned()))
    }
}

/// The folder of `config`, if all weights lie beside it.
fn complete_folder(config: &Path) -> Option<PathBuf> {
    let folder = config.parent()?;
    let index = folder.join(SHARD_INDEX);
    let needed = if index.is_file() { shards(&index).ok()? } else { BTreeSet::from([WEIGHTS.to_owned()]) };
    needed.iter().all(|shard| folder.join(shard).is_file()).then(|| folder.to_owned())
}

/// The files that an index names.
fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let text = std::fs::read_to_string(index).map_err(|error| error.to_string())?;
    let index: ShardIndex = parse_json(SHARD_INDEX, &text).map_err(|error| error.to_string())?;
    index.shards().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_and_a_file_of_one_are_told_from_paths() {
        let model = |repository: &str, file: Option<&str>| {
            Some(HubModel { repository: repository.to_owned(), file: file.map(str::to_owned) })
        };
        assert_eq!(HubModel::parse("Qwen/Qwen2.5-0.5B"), model("Qwen/Qwen2.5-0.5B", None));
        assert_eq!(HubModel::parse("a/b:q4/c.gguf"), model("a/b", Some("q4/c.gguf")));
        for path in [
            "models/m.gguf",
            "./a/b",
            "/a/b",
            "a/b/c",
            "a",
            "smollm2-135m",
            "../b",
            "a/..",
            "a/b:c.bin",
            "a/b:../c.gguf",
            "a/b c",
        ] {
            assert_eq!(HubModel::parse(path), None, "{path}");
        }
    }

    #[test]
    fn the_cache_is_where_other_clients_of_the_hub_look() {
        let hub = Hub::from_variables(|name| (name == "HOME").then(|| "/home/a".to_owned()));
        assert_eq!((hub.cache, hub.endpoint), (PathBuf::from("/home/a/.cache/huggingface/hub"), ENDPOINT.to_owned()));
        let hub = Hub::from_variables(|name| (name == "HF_HOME").then(|| "/data".to_owned()));
        assert_eq!(hub.cache, PathBuf::from("/data/hub"));
    }
}
