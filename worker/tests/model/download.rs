//! Downloads, from a server that speaks the hub's protocol.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use candle_core::DType;
use eoscast_kernels::Compute;
use eoscast_model::{Hub, HubModel};
use eoscast_worker::runner::load::load;
use serde_json::json;
use tempfile::TempDir;

use super::random::RandomModel;
use super::tiny::{load_error, options};

const REPOSITORY: &str = "tiny/llama";

/// A hub with one repository, and what was asked of it.
struct Server {
    files: BTreeMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
}

/// Serves the files of `folder` until the runtime is dropped.
#[expect(clippy::disallowed_methods, reason = "serves files to this test alone")]
fn serve(folder: &Path) -> (tokio::runtime::Runtime, Arc<Server>, String) {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    });
    let server = Arc::new(Server { files: files.collect(), asked: Mutex::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&server));
    runtime.spawn(async move { axum::serve(listener, app).await });
    (runtime, server, endpoint)
}

async fn answer(State(server): State<Arc<Server>>, uri: Uri) -> Response {
    let path = uri.path().to_owned();
    server.asked.lock().unwrap().push(path.clone());
    if path == format!("/api/models/{REPOSITORY}/revision/main") {
        let siblings: Vec<_> = server.files.keys().map(|name| json!({ "rfilename": name })).collect();
        return json!({ "sha": "abc", "siblings": siblings }).to_string().into_response();
    }
    let file =
        path.strip_prefix(&format!("/{REPOSITORY}/resolve/main/")).and_then(|name| server.files.get_key_value(name));
    let Some((name, bytes)) = file else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = format!("bytes 0-0/{}", bytes.len());
    let headers = [
        (header::ETAG, format!("\"{name}\"")),
        (header::CONTENT_RANGE, range),
        (header::HeaderName::from_static("x-repo-commit"), "abc".to_owned()),
    ];
    (headers, bytes.clone()).into_response()
}

fn hub(endpoint: &str) -> (TempDir, Hub) {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub { endpoint: endpoint.to_owned(), cache: home.path().join("hub"), token: None };
    (home, hub)
}

#[test]
fn a_repository_is_downloaded_once_and_runs_from_the_cache_without_the_hub() {
    for source in [RandomModel::new("llama").folder(DType::BF16), RandomModel::new("llama").sharded_folder()] {
        let (runtime, server, endpoint) = serve(source.path());
        let (_home, hub) = hub(&endpoint);
        let model = HubModel::parse(REPOSITORY).unwrap();
        let folder = model.fetch(&hub).unwrap();
        assert!(folder.starts_with(hub.cache.join("models--tiny--llama")), "{}", folder.display());
        let loaded = load(&options(&folder, Compute::F32), &mut |_, _| ()).unwrap();
        assert!(loaded.chat_template.is_some());
        let asked = server.asked.lock().unwrap().clone();
        assert!(!asked.iter().any(|path| path.ends_with("chat_template.jinja")), "not in the repository: {asked:?}");
        drop(runtime);
        assert_eq!(model.fetch(&hub).unwrap(), folder);
    }
}

#[test]
fn a_download_that_broke_off_goes_on() {
    let source = RandomModel::new("llama").folder(DType::F32);
    let (_runtime, _server, endpoint) = serve(source.path());
    let (_home, hub) = hub(&endpoint);
    let model = HubModel::parse(REPOSITORY).unwrap();
    let folder = model.fetch(&hub).unwrap();
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert_eq!(model.fetch(&hub).unwrap(), folder);
    assert!(folder.join("tokenizer.json").is_file());
}

#[test]
fn one_gguf_file_of_a_repository_is_downloaded_alone() {
    let source = tempfile::tempdir().unwrap();
    let bytes = RandomModel::new("qwen3").gguf(candle_core::quantized::GgmlDType::Q8_0).bytes();
    std::fs::write(source.path().join("m.gguf"), bytes).unwrap();
    let (runtime, _server, endpoint) = serve(source.path());
    let (_home, hub) = hub(&endpoint);
    let model = HubModel::parse(&format!("{REPOSITORY}:m.gguf")).unwrap();
    let file = model.fetch(&hub).unwrap();
    assert!(load(&options(&file, Compute::Quantized), &mut |_, _| ()).is_ok());
    drop(runtime);
    assert_eq!(model.fetch(&hub).unwrap(), file);
}

#[test]
fn all_files_of_a_split_model_are_downloaded() {
    let source = tempfile::tempdir().unwrap();
    let parts = RandomModel::new("qwen3").gguf(candle_core::quantized::GgmlDType::Q8_0).split(2);
    for (number, bytes) in (1..).zip(parts) {
        std::fs::write(source.path().join(format!("m-0000{number}-of-00002.gguf")), bytes).unwrap();
    }
    let (runtime, _server, endpoint) = serve(source.path());
    let (_home, hub) = hub(&endpoint);
    let model = HubModel::parse(&format!("{REPOSITORY}:m-00001-of-00002.gguf")).unwrap();
    let file = model.fetch(&hub).unwrap();
    drop(runtime);
    assert_eq!(model.fetch(&hub).unwrap(), file);
    assert!(load(&options(&file, Compute::Quantized), &mut |_, _| ()).is_ok());
}

#[test]
fn a_hub_out_of_reach_or_without_the_model_says_what_to_do() {
    let (_home, nowhere) = hub("http://127.0.0.1:9");
    let message = HubModel::parse(REPOSITORY).unwrap().fetch(&nowhere).unwrap_err().to_string();
    for expected in [REPOSITORY, "http://127.0.0.1:9", "HF_ENDPOINT", "pass the path"] {
        assert!(message.contains(expected), "{message}");
    }
    let source = RandomModel::new("llama").folder(DType::F32);
    let (_runtime, _server, endpoint) = serve(source.path());
    let (_home, hub) = hub(&endpoint);
    let message = HubModel::parse("tiny/other").unwrap().fetch(&hub).unwrap_err().to_string();
    assert!(message.contains("404"), "{message}");
    let message = HubModel::parse("tiny/llama:absent.gguf").unwrap().fetch(&hub).unwrap_err().to_string();
    assert!(message.contains("absent.gguf"), "{message}");
}

#[test]
fn a_repository_without_safetensors_says_which_file_it_lacks() {
    let source = RandomModel::new("llama").folder(DType::F32);
    std::fs::remove_file(source.path().join("model.safetensors")).unwrap();
    let (_runtime, _server, endpoint) = serve(source.path());
    let (_home, hub) = hub(&endpoint);
    let message = HubModel::parse(REPOSITORY).unwrap().fetch(&hub).unwrap_err().to_string();
    assert!(message.contains("model.safetensors"), "{message}");
    let empty = tempfile::tempdir().unwrap();
    assert!(load_error(load(&options(empty.path(), Compute::F32), &mut |_, _| ())).contains("config.json"));
}
