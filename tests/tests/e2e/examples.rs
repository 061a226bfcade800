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

/// Command lines of our binaries in the code of a Markdown text, each as its words. A line that ends in a backslash goes on; a
/// command ends where the shell ends it.
fn command_lines(markdown: &str) -> Vec<Vec<String>> {
    let joined = markdown.replace("\\\n", " ");
    // Even parts lie between backticks, or between the fences of a block, which are three of them.
    let code = joined.split('`').skip(1).step_by(2).flat_map(str::lines);
    let commands = code.flat_map(|line| line.match_indices("eoscast-").map(|(at, _)| &line[at..]));
    let words = |command: &str| -> Vec<String> {
        let words = command.split_whitespace().take_while(|word| !["&&", "&", "|", ";", "#"].contains(word));
        words.map(str::to_owned).collect()
    };
    commands.map(words).collect()
}

fn markdown_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.chain(folders.iter().flat_map(|folder| markdown_files(folder))).collect()
}

#[test]
fn the_documents_name_commands_and_flags_that_exist() {
    let mut documents = markdown_files(&repository().join("docs"));
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| repository().join(name)));
    let mut help_of = BTreeMap::new();
    let mut flags_seen = 0;
    for document in documents {
        let name = document.display();
        for words in command_lines(&std::fs::read_to_string(&document).unwrap()) {
            let [binary, command, ..] = words.as_slice() else { continue };
            let is_binary = ["eoscast-worker", "eoscast-predictor", "eoscast-lab"].contains(&binary.as_str());
            if !is_binary || !command.chars().all(|c| c.is_ascii_lowercase()) {
                continue;
            }
            let (ok, help) = help_of.entry((binary.clone(), command.clone())).or_insert_with(|| {
                let (ok, help, _) = run(binary, &[command, "--help"]);
                (ok, help)
            });
            assert!(*ok, "{name}: there is no `{binary} {command}`");
            for flag in words[2..].iter().filter(|word| word.starts_with("--")) {
                let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                assert!(
                    help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
                    "{name}: `{binary} {command}` has no {flag}"
                );
                flags_seen += 1;
            }
        }
    }
    assert!(flags_seen > 30, "{flags_seen} flags found: are the documents read as they should be?");
}
