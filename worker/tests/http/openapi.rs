//! The description of the endpoints.

use serde_json::json;

use super::Server;

#[tokio::test]
async fn the_description_names_every_endpoint_and_the_fields_of_bodies_and_answers() {
    let server = Server::saying("hello");
    let document = server.get("/openapi.json").await.json();
    let body = |path: &str| &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body("/v1/completions")["required"], json!(["prompt"]));
    assert!(body("/v1/chat/completions")["properties"]["messages"].is_object());
    let answer = server.complete(&json!({ "prompt": "hi" })).await;
    let described = &document["components"]["schemas"]["Completion"]["properties"];
    for name in answer.as_object().unwrap().keys() {
        assert!(described[name].is_object(), "{name}");
    }
    // A path that is described exists.
    for (path, methods) in document["paths"].as_object().unwrap() {
        let status = match methods["get"].is_object() {
            true => server.get(path).await.status,
            false => server.post(path, &json!({})).await.status,
        };
        assert!(![404, 405].contains(&status.as_u16()), "{path}: {status}");
    }
}
