//! The clients in `docs/examples/`, and the command lines that the documents name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use eoscast_pair::pair::{Pair, PairOptions};

use crate::run;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What an example prints on stdout and stderr; it must succeed.
fn example(name: &str, pair: &Pair) -> (String, String) {
    let python = std::env::var("EOSCAST_PYTHON").expect(
        "EOSCAST_PYTHON must name a Python with the packages of docs/examples/requirements.txt; \
         `make test` installs one as .tools/bin/python",
    );
    let output = Command::new(python)
        .arg(repository().join("docs/examples").join(name))
        .arg("Name a colour.")
        .env("EOSCAST_WORKER", pair.worker_addr.to_string())
        .env("EOSCAST_BASE_URL", format!("http://{}/v1", pair.http_addr))
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}: {errors}");
    (out, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_clients_stream_the_same_reply_with_its_forecast() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let (grpc_reply, grpc_forecasts) = example("generate.py", &pair);
    let (openai_reply, openai_forecasts) = example("chat.py", &pair);
    assert!(grpc_reply.trim().len() > 10, "{grpc_reply:?}");
    assert_eq!(grpc_reply.trim(), openai_reply.trim(), "one seed, one reply");
    for forecasts in [grpc_forecasts, openai_forecasts] {
        assert!(forecasts.contains("forecast after 0 tokens: about"), "on arrival: {forecasts}");
        assert!(forecasts.matches("to come").count() > 1, "while it streams: {forecasts}");
    }
}

/// Command lines of our binaries in the code of a Markdown text, each as its words. A line that ends in a backslash goes on.
fn command_lines(markdown: &str) -> Vec<Vec<String>> {
    let joined = markdown.replace("\\\n", " ");
    // Even parts lie between backticks, or between the fences of a block, which are three of them.
    let code = joined.split('`').skip(1).step_by(2).flat_map(str::lines);
    let commands = code.flat_map(|line| line.match_indices("eoscast-").map(|(at, _)| &line[at..]));
    commands.map(|command| command.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn the_documents_name_commands_and_flags_that_exist() {
    let mut help = BTreeMap::new();
    let documents = ["README.md", "CONTRIBUTING.md", "docs/quickstart.md", "docs/operating/README.md"].into_iter();
    let documents = documents.chain(["docs/reference/README.md", "docs/reference/models.md", "docs/reference/log.md"]);
    let evidence = ["forecast", "performance", "scheduling"].map(|name| format!("docs/evidence/{name}.md"));
    let mut seen = 0;
    for document in documents.map(str::to_owned).chain(evidence) {
        let text = std::fs::read_to_string(repository().join(&document)).expect(&document);
        for words in command_lines(&text) {
            let [binary, command, ..] = words.as_slice() else { continue };
            let is_binary = ["eoscast-worker", "eoscast-predictor", "eoscast-lab"].contains(&binary.as_str());
            if !is_binary || !command.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            let (known, options) = help.entry((binary.clone(), command.clone())).or_insert_with(|| {
                let (ok, help, _) = run(binary, &[command, "--help"]);
                (ok, help)
            });
            assert!(*known, "{document}: `{binary} {command}` does not exist");
            for flag in words[2..].iter().filter(|word| word.starts_with("--")) {
                let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                let flag = flag.split('=').next().unwrap_or_default();
                assert!(options.contains(flag), "{document}: `{binary} {command}` has no {flag}");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen} flags found: are the documents read as they should be?");
}
