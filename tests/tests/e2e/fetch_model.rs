//! `deploy/fetch_model.py`, where it cannot write.

use std::path::Path;
use std::process::Command;

#[test]
fn a_folder_that_cannot_be_made_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let python = std::env::var("EOSCAST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/fetch_model.py");
    let output =
        Command::new(python).arg(script).args(["smollm2-135m", "--out"]).arg(file.join("models")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.starts_with("error: ") && error.contains("choose another folder with --out"), "{error}");
}
