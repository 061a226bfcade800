//! Requests and options that cannot work are refused with the name of what is wrong.

use eoscast_pair::client::{chat, generate};
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::process::Process;
use eoscast_proto::worker::v1 as pb;
use pb::generate_request::Input;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_work_is_an_invalid_argument_that_names_the_field() {
    let pair = Pair::start(&PairOptions::worker(&["--kv-tokens", "1024"])).unwrap();
    let sampled = |change: fn(&mut pb::SamplingParams)| {
        let mut request = chat("", "hello", 1, 8);
        change(request.sampling_params.as_mut().unwrap());
        request
    };
    let text = |text: String| pb::GenerateRequest { input: Some(Input::Text(text)), ..Default::default() };
    let unknown = Input::TokenIds(pb::TokenIds { ids: vec![1, 60_000] });
    let cases = [
        ("sampling_params.max_tokens", sampled(|s| s.max_tokens = Some(0))),
        ("sampling_params.max_tokens", sampled(|s| s.max_tokens = Some(100_000))),
        ("sampling_params.temperature", sampled(|s| s.temperature = Some(-1.0))),
        ("sampling_params.stop[0]", sampled(|s| s.stop = vec!["x".repeat(1 << 20)])),
        ("sampling_params.stop", sampled(|s| s.stop = vec!["x".repeat(1024); 1024])),
        ("sampling_params.top_p", sampled(|s| s.top_p = Some(f32::NAN))),
        ("sampling_params.stop_token_ids", sampled(|s| s.stop_token_ids = vec![60_000])),
        ("text", text("word ".repeat(1500))),
        ("text", text("word ".repeat(9000))),
        ("token_ids.ids", pb::GenerateRequest { input: Some(unknown), ..Default::default() }),
        ("input", pb::GenerateRequest::default()),
        ("request_id", pb::GenerateRequest { request_id: "two words".into(), ..text("hi".into()) }),
    ];
    for (field, request) in cases {
        let status = generate(pair.worker_client().await.unwrap(), request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        assert!(status.message().starts_with(&format!("{field}:")), "{field}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_an_invalid_argument() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let endpoint = eoscast_proto::transport::endpoint(&format!("http://{}", pair.worker_addr)).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    // Its third field is a number, where a request has a message. Any response is read as nothing.
    let nonsense = tonic::Request::new(pb::GetLoadsResponse { kv_usage: 0.5, ..Default::default() });
    let codec = eoscast_proto::codec::MessageCodec::<pb::GetLoadsResponse, ()>::default();
    let path = "/eoscast.worker.v1.WorkerService/Generate".parse().unwrap();
    let status = client.unary(nonsense, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().starts_with("message: is not valid protobuf: "), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_resource_exhausted() {
    let pair = Pair::start(&PairOptions::worker(&["--max-waiting", "1", "--max-running", "1"])).unwrap();
    let mut request = chat("", "Write a long story.", 1, 2000);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let mut streams = Vec::new();
    let refused = loop {
        assert!(streams.len() < 8, "nothing was refused");
        match pair.worker_client().await.unwrap().generate(request.clone()).await {
            Ok(stream) => streams.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
}

#[test]
fn an_option_that_cannot_work_ends_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (broken, taken) = (folder.path().join("broken.gguf"), folder.path().join("a-file"));
    std::fs::write(&broken, b"GGUF but not really").unwrap();
    std::fs::write(&taken, b"").unwrap();
    let (broken, under_file) = (broken.display().to_string(), taken.join("data").display().to_string());
    let cases: [(&str, &[&str], &[&str]); 9] = [
        ("eoscast-worker", &["--model", "no-such-model"], &["no-such-model"]),
        ("eoscast-worker", &["--model", &broken], &["broken.gguf"]),
        ("eoscast-worker", &["--policy", "nonsense"], &["--policy", "fcfs"]),
        ("eoscast-worker", &["--kv-tokens", "3"], &["kv budget"]),
        ("eoscast-worker", &["--predictor", "not a url"], &["--predictor", "host:port"]),
        ("eoscast-worker", &["--predictor", "https://127.0.0.1:50052"], &["--predictor", "https is not supported"]),
        ("eoscast-worker", &["--predictor", "grpc://127.0.0.1:50052"], &["--predictor", "use http://host:port"]),
        ("eoscast-predictor", &["--data-dir", &under_file], &["a-file"]),
        ("eoscast-predictor", &["--artifact", "/no/such/file"], &["/no/such/file"]),
    ];
    // All at once: each takes a while to find out.
    let started = cases.map(|(binary, options, expected)| {
        let args = ["serve", "--listen", "127.0.0.1:0"].iter().chain(options).map(|arg| (*arg).to_owned());
        let off: &[&str] = if binary == "eoscast-worker" { &["--http", "127.0.0.1:0"] } else { &["--metrics", "off"] };
        let args: Vec<String> = args.chain(off.iter().map(|arg| (*arg).to_owned())).collect();
        (Process::start(binary, &args, &[]).unwrap(), options, expected)
    });
    for (mut process, options, expected) in started {
        let status = process.wait(std::time::Duration::from_secs(60)).unwrap();
        assert!(!status.success());
        for text in expected {
            assert!(process.log().contains(text), "{options:?}: {}", process.log());
        }
        assert!(!process.log().contains("panicked"), "{options:?}: {}", process.log());
    }
}
