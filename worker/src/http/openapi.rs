//! `GET /openapi.json`: the endpoints, described by the types that read and write their bodies.

use std::sync::LazyLock;

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::app::ModelField;
use super::chat::ChatFields;
use super::completions::CompletionFields;
use super::delivery::DeliveryFields;
use super::error::ErrorObject;
use super::messages::ConversationFields;
use super::response;
use super::sampling::SamplingFields;
use super::tokenize::{DetokenizeFields, Detokenized, TokenizeFields, Tokenized};
use super::tools::ToolFields;

/// The schema of a set of fields.
type FieldSet = fn(&mut SchemaGenerator) -> Schema;

const COMPLETION: &[FieldSet] =
    &[set::<ModelField>, set::<CompletionFields>, set::<SamplingFields>, set::<DeliveryFields>];

const CHAT: &[FieldSet] = &[
    set::<ModelField>,
    set::<ConversationFields>,
    set::<ChatFields>,
    set::<ToolFields>,
    set::<SamplingFields>,
    set::<DeliveryFields>,
];

const TOKENIZE: &[FieldSet] = &[set::<ModelField>, set::<TokenizeFields>, set::<ConversationFields>, set::<ToolFields>];

const DETOKENIZE: &[FieldSet] = &[set::<ModelField>, set::<DetokenizeFields>];

static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

pub(super) async fn document() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn make() -> Value {
    // What is read and what is written differ in which fields must be there.
    let mut read = settings().for_deserialize().into_generator();
    let mut written = settings().for_serialize().into_generator();
    let error = written.subschema_for::<ErrorObject>();
    let failure = json!({ "description": "a failure, in OpenAI's form", "content": json_content(&error) });
    let generated = written.subschema_for::<response::Body<'static>>();
    let generated = json!({
        "application/json": { "schema": generated },
        // With `stream`: one such object an event, `[DONE]` at the end.
        "text/event-stream": { "schema": generated },
    });
    let tokenized = json_content(&written.subschema_for::<Tokenized>());
    let detokenized = json_content(&written.subschema_for::<Detokenized>());
    let mut post = |summary: &str, sets: &[FieldSet], answer: &Value| {
        json!({ "post": {
            "summary": summary,
            "requestBody": { "required": true, "content": json_content(&body(&mut read, sets)) },
            "responses": { "200": { "description": "the answer", "content": answer }, "default": failure },
        }})
    };
    let get = |summary: &str, content_type: &str| {
        let content = Map::from_iter([(content_type.to_owned(), json!({}))]);
        json!({ "get": {
            "summary": summary,
            "responses": { "200": { "description": "the answer", "content": content } },
        }})
    };
    let paths = json!({
        "/v1/completions": post("Continues a text, several texts, or tokens.", COMPLETION, &generated),
        "/v1/chat/completions": post("The next turn of a conversation.", CHAT, &generated),
        "/tokenize": post("A text or a conversation as tokens.", TOKENIZE, &tokenized),
        "/detokenize": post("Tokens as text.", DETOKENIZE, &detokenized),
        "/v1/models": get("The model that is served.", "application/json"),
        "/health": get("Whether the worker takes requests.", "text/plain"),
        "/metrics": get("Counters and the current load, for Prometheus.", "text/plain"),
        "/version": get("The worker's version.", "application/json"),
        "/openapi.json": get("This document.", "application/json"),
    });
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": { "title": "eoscast worker", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    })
}

fn json_content(schema: &impl serde::Serialize) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// The schema of a body that is read as `sets`.
fn body(generator: &mut SchemaGenerator, sets: &[FieldSet]) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for set in sets {
        let mut schema = set(generator);
        if let Some(Value::Object(fields)) = schema.remove("properties") {
            properties.extend(fields);
        }
        if let Some(Value::Array(names)) = schema.remove("required") {
            required.extend(names);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn set<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fields::Fields;
    use super::super::job::Job;
    use super::super::known_fields::UnknownFields;
    use super::super::response::Endpoint;
    use super::super::tokenize::{read_source, read_tokens};
    use super::*;

    /// Names of the fields that the endpoint at `path` reads, from a body that it takes.
    fn names_read(path: &str) -> BTreeSet<String> {
        let body = json!({ "prompt": "a", "messages": [{ "role": "user" }], "tokens": [1] }).to_string();
        let mut fields = Fields::from_json(body.as_bytes(), None).unwrap();
        let unknown = UnknownFields::Ignored;
        let _: ModelField = fields.read().unwrap();
        // The body has a field of another endpoint, which is refused when all names are known.
        match path {
            "/v1/completions" => drop(Job::read(Endpoint::Completions, &mut fields, unknown)),
            "/v1/chat/completions" => drop(Job::read(Endpoint::Chat, &mut fields, unknown)),
            "/tokenize" => drop(read_source(&mut fields, unknown)),
            "/detokenize" => drop(read_tokens(&mut fields, unknown)),
            _ => panic!("{path}"),
        }
        fields.asked().iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_field_that_an_endpoint_reads_is_in_the_document_with_a_description() {
        for path in ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"] {
            let schema = &DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
            let properties = schema["properties"].as_object().unwrap();
            assert_eq!(names_read(path), properties.keys().cloned().collect(), "{path}");
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{path}: {name}");
            }
        }
    }

    #[test]
    fn each_reference_of_the_document_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(&DOCUMENT, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
        }
    }
}
