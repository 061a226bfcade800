//! The chat template of a hub folder: `chat_template.jinja`, else `chat_template.json`, else a field of `tokenizer_config.json`.

use std::path::Path;

use serde_json::Value;

use crate::checkpoint::{read_json, read_text};

/// Of several templates with names, the one for a plain chat.
const DEFAULT: &str = "default";

/// The source of the template in `folder`, whose settings have `in_settings`. An error says why there is none: it costs the chat,
/// not the model.
pub(super) fn read(folder: &Path, in_settings: Option<Value>) -> Result<Option<String>, String> {
    if let Some(source) = read_text(folder, "chat_template.jinja").map_err(|error| error.to_string())? {
        return Ok(Some(source));
    }
    let file: Option<Value> = read_json(folder, "chat_template.json").map_err(|error| error.to_string())?;
    let (name, found) = match file {
        Some(mut json) => ("chat_template.json", json.get_mut("chat_template").map(Value::take)),
        None => ("tokenizer_config.json", in_settings),
    };
    source(found.unwrap_or_default()).map_err(|problem| format!("`chat_template` in {name}: {problem}"))
}

/// The template in a value: a text, or a list of templates with names.
fn source(value: Value) -> Result<Option<String>, String> {
    let named: Vec<(String, Value)> = match value {
        Value::Null => return Ok(None),
        Value::String(source) => return Ok(Some(source)),
        Value::Array(list) => {
            let entry = |mut entry: Value| {
                Some((entry.get("name")?.as_str()?.to_owned(), entry.get_mut("template").map(Value::take)?))
            };
            list.into_iter().filter_map(entry).collect()
        }
        Value::Object(map) => map.into_iter().collect(),
        Value::Bool(_) | Value::Number(_) => return Err("it is neither a text nor a list of templates".to_owned()),
    };
    let names = named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    match named.into_iter().find(|(name, _)| name == DEFAULT) {
        Some((_, Value::String(source))) => Ok(Some(source)),
        Some(_) => Err(format!("`{DEFAULT}` is no text")),
        None => Err(format!("none is named `{DEFAULT}` (there are: {names})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_several_templates_the_default_is_taken() {
        let list = json!([{ "name": "rag", "template": "a" }, { "name": "default", "template": "b" }]);
        assert_eq!(source(list), Ok(Some("b".to_owned())));
        assert_eq!(source(json!({ "default": "b", "tool_use": "c" })), Ok(Some("b".to_owned())));
        assert_eq!(source(json!("a")), Ok(Some("a".to_owned())));
        assert_eq!(source(Value::Null), Ok(None));
    }

    #[test]
    fn templates_that_are_none_are_told() {
        assert!(source(json!([{ "name": "rag", "template": "a" }])).unwrap_err().contains("there are: rag"));
        assert!(source(json!({ "default": 1 })).unwrap_err().contains("no text"));
        assert!(source(json!(7)).unwrap_err().contains("neither a text"));
    }
}
