//! A chat template on the command line.

use std::fs::File;
use std::io::Read;
use std::str::FromStr;

use eoscast_model::text::{ChatTemplate, ChatTemplateError, Tokenizer};

/// A template that compiles.
#[derive(Debug, Clone)]
pub(super) struct TemplateArg {
    source: String,
}

impl TemplateArg {
    /// The template for the model with this tokenizer.
    pub(super) fn template(&self, tokenizer: &Tokenizer) -> Result<ChatTemplate, ChatTemplateError> {
        ChatTemplate::new(&self.source, tokenizer.bos_token(), tokenizer.eos_token())
    }
}

impl FromStr for TemplateArg {
    type Err = String;

    /// Reads a file, or takes the text as it is if it is a template.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_template = ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag));
        let (source, of) = match is_template {
            true => (text.to_owned(), String::new()),
            false => (read(text)?, format!("{text}: ")),
        };
        match ChatTemplate::new(&source, "", "") {
            Ok(_) => Ok(Self { source }),
            Err(error) => Err(format!("{of}{error}")),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    let io =
        |error: std::io::Error| format!("{path}: {error}; give a file, or a template, which has {{{{ or {{% in it");
    let mut text = String::new();
    // One byte more than a template may have, so that it refuses what is too long.
    File::open(path)
        .and_then(|file| file.take(ChatTemplate::MAX_BYTES as u64 + 1).read_to_string(&mut text))
        .map_err(io)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_given_as_a_file_or_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{{ messages[0].content }}\n").unwrap();
        let from_file: TemplateArg = file.path().to_str().unwrap().parse().unwrap();
        assert_eq!(from_file.source, "{{ messages[0].content }}\n");
        assert_eq!("{{ bos_token }}".parse::<TemplateArg>().unwrap().source, "{{ bos_token }}");
    }

    #[test]
    fn a_faulty_template_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\n{% endfor %}").unwrap();
        let path = file.path().to_str().unwrap();
        let error = path.parse::<TemplateArg>().unwrap_err();
        assert!(error.contains(path) && error.contains("line 2"), "{error}");
        let error = "no/such/file".parse::<TemplateArg>().unwrap_err();
        assert!(error.contains("no/such/file") && error.contains("give a file"), "{error}");
    }
}
