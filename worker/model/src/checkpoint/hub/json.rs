//! Text and JSON files of a folder, none longer than we can hold.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::super::error::HubError;

/// Longest JSON or template file; the largest published tokenizers take about 35 MB.
const MAX_TEXT_BYTES: u64 = 1 << 28;

/// Reads file `name` of `folder`; `None` if there is none.
pub(crate) fn read_text(folder: &Path, name: &str) -> Result<Option<String>, HubError> {
    let io = |problem| HubError::Io { file: name.to_owned(), problem };
    let file = match File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut text = String::new();
    // `take` grows the buffer by what is really there.
    file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(HubError::malformed(name, format!("longer than {MAX_TEXT_BYTES} bytes")));
    }
    Ok(Some(text))
}

/// Parses the content of file `name`; an error says which field.
pub(crate) fn parse_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, HubError> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| HubError::malformed(name, error.to_string()))
}

/// Reads and parses file `name` of `folder`; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, HubError> {
    read_text(folder, name)?.map(|text| parse_json(name, &text)).transpose()
}
