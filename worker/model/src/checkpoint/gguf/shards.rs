//! Models in several files: `NAME-00001-of-00003.gguf` and so on, each with a header and some of the tensors.

use std::path::{Path, PathBuf};

use super::super::error::GgufError;
use super::metadata::Metadata;

/// Most files of a model; published ones have about a hundred.
const MAX_SHARDS: usize = 1_000;

/// The name of one file of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardName {
    prefix: String,
    /// From 1.
    number: usize,
    count: usize,
}

impl ShardName {
    /// Reads `PREFIX-00001-of-00003.gguf`; `None` for any other name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let valid = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            valid.then(|| text.parse().ok()).flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        (1..=count).contains(&number).then(|| Self { prefix: prefix.to_owned(), number, count })
    }

    /// The names of all files of the model, in their order.
    pub(crate) fn all(&self) -> Result<Vec<String>, GgufError> {
        let Self { prefix, count, .. } = self;
        if *count > MAX_SHARDS {
            return Err(GgufError::Split(format!("{count} files of one model, at most {MAX_SHARDS} are accepted")));
        }
        Ok((1..=*count).map(|number| format!("{prefix}-{number:05}-of-{count:05}.gguf")).collect())
    }
}

/// The files of the model at `path`, in their order: that file alone, or all shards beside it, whichever of them it is.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, GgufError> {
    let Some(name) = path.file_name().and_then(|name| ShardName::parse(&name.to_string_lossy())) else {
        return Ok(vec![path.to_owned()]);
    };
    let files: Vec<_> = name.all()?.into_iter().map(|name| path.with_file_name(name)).collect();
    match files.iter().find(|file| !file.exists()) {
        Some(missing) => Err(GgufError::Split(format!(
            "{} is missing: the model is split into {} files, which must lie in one folder",
            missing.display(),
            files.len()
        ))),
        None => Ok(files),
    }
}

/// Checks that a file that says `metadata` is the one at `index` of `count`.
pub(super) fn check_place(metadata: Metadata<'_>, index: usize, count: usize) -> Result<(), GgufError> {
    let claimed = metadata.optional_uint("split.count")?.unwrap_or(1).max(1);
    let place = metadata.optional_uint("split.no")?.unwrap_or(0);
    if claimed == count as u64 && place == index as u64 {
        return Ok(());
    }
    let shard = place.saturating_add(1);
    Err(GgufError::Split(match count {
        1 => format!(
            "it is file {shard} of {claimed} of a split model: keep the names NAME-00001-of-{claimed:05}.gguf and so on, \
             with all files in one folder"
        ),
        _ => format!(
            "the file named {} of {count} says that it is {shard} of {claimed}: download the files again",
            index + 1
        ),
    }))
}

/// Checks that the files of a model have as many tensors together as `metadata` of one says.
pub(super) fn check_tensors(metadata: Metadata<'_>, found: usize) -> Result<(), GgufError> {
    match metadata.optional_uint("split.tensors.count")? {
        Some(claimed) if claimed != found as u64 => Err(GgufError::Split(format!(
            "the files have {found} tensors together, `split.tensors.count` is {claimed}: download them again"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_one_file_gives_those_of_all() {
        let name = ShardName::parse("q4/m-of-a-00002-of-00003.gguf").unwrap();
        let all = ["q4/m-of-a-00001-of-00003.gguf", "q4/m-of-a-00002-of-00003.gguf", "q4/m-of-a-00003-of-00003.gguf"];
        assert_eq!(name.all().unwrap(), all);
        for other in [
            "m.gguf",
            "m-1-of-3.gguf",
            "m-00004-of-00003.gguf",
            "m-00000-of-00003.gguf",
            "m-00001-of-00003.bin",
            "m-+0001-of-00003.gguf",
        ] {
            assert_eq!(ShardName::parse(other), None, "{other}");
        }
        assert!(ShardName::parse("m-00001-of-99999.gguf").unwrap().all().is_err());
    }
}
