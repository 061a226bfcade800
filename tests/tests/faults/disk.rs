//! The log's files and folder are deleted, moved, replaced and rotated under the predictor, and the disk is full or read-only:
//! no request fails, the log goes on by itself, and what is lost is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::kills::all_acknowledged;
use crate::support::clients::{Clients, Outcome, failures};
use crate::support::log::{Agreement, agreement, replay};
use crate::support::services::{Launch, Predictor, Services, Worker};
use crate::support::until;

const PATIENCE: Duration = Duration::from_secs(30);
/// How soon the predictor notices that its file is gone, and a moment for the machine.
const NOTICED: Duration = Duration::from_secs(2);
const CLIENTS: usize = 8;
const MAX_TOKENS: u32 = 100;

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default();
    paths.sort();
    paths
}

fn newest(folder: &Path, prefix: &str) -> PathBuf {
    let is_one = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(prefix);
    entries(folder).into_iter().rfind(is_one).unwrap()
}

/// Requests that begin once the log is whole again, as the log tells of them.
async fn logged_again(services: &Services, when: &str) -> Agreement {
    let clients = Clients::start(services.worker.grpc, "again", CLIENTS, MAX_TOKENS);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let outcomes = clients.finish().await;
    all_acknowledged(&services.worker).await;
    let found = agreement(services.predictor.data(), &outcomes);
    println!("{when}: of requests begun afterwards {found:?}");
    found
}

fn assert_whole(found: &Agreement) {
    assert!(found.tokens > 100, "too little ran to test anything: {found:?}");
    assert_eq!((found.lost, found.doubled, found.wrong), (0, 0, 0), "{found:?}");
    assert_eq!((found.outcomes_lost, found.outcomes_doubled), (0, 0), "{found:?}");
}

fn assert_none_failed(outcomes: &[Outcome]) {
    assert!(failures(outcomes).is_empty(), "{:?}", failures(outcomes));
}

/// Deletes `folder`, which the predictor may make again meanwhile.
fn delete_folder(folder: &Path) {
    while let Err(error) = fs::remove_dir_all(folder) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty, "{error}");
    }
}

/// Puts a file in the place of `folder`.
fn replace_by_file(folder: &Path) {
    loop {
        delete_folder(folder);
        match fs::write(folder, "a file") {
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {}
            written => return written.unwrap(),
        }
    }
}

/// Does `damage` under load, gives the predictor time to notice, and shows that all later requests are logged.
async fn survives(what: &str, damage: impl FnOnce(&Path)) -> Services {
    let services = Services::start(Launch::default(), &Launch::default());
    let clients = Clients::start(services.worker.grpc, "before", CLIENTS, MAX_TOKENS);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let data = services.predictor.data().to_owned();
    damage(&data);
    tokio::time::sleep(NOTICED).await;
    let files = entries(&data).len();
    let outcomes = clients.finish().await;
    println!("{what}: {} requests, {} failed; files afterwards {files}", outcomes.len(), failures(&outcomes).len());
    assert_none_failed(&outcomes);
    assert_whole(&logged_again(&services, what).await);
    println!("{what}: lines lost, as counted: {}", services.predictor.metric("log_lost_lines_total").await);
    assert_eq!(services.predictor.metric("log_state").await, 1.0);
    let log = services.predictor.process.log();
    assert!(log.contains("WARN") || log.contains("ERROR"), "the predictor says so: {log}");
    services
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_deleted_folder_is_made_again() {
    let services = survives("folder deleted", delete_folder).await;
    assert!(services.predictor.metric("log_lost_lines_total").await > 0.0, "what was lost is counted");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn deleted_files_are_made_again() {
    survives("files deleted", |data| entries(data).iter().for_each(|path| fs::remove_file(path).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_replaced_file_is_written_from_then_on() {
    survives("step file replaced", |data| {
        let file = newest(data, "steps-");
        fs::write(data.join("new"), "").unwrap();
        fs::rename(data.join("new"), file).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_folder_that_was_moved_away_is_made_again_and_the_moved_one_is_whole() {
    let mut moved = PathBuf::new();
    survives("folder moved", |data| {
        moved = data.with_file_name("moved");
        fs::rename(data, &moved).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_file_in_place_of_the_folder_stops_the_log_until_it_is_gone_and_fails_no_request() {
    let services = Services::start(Launch::default(), &Launch::default());
    let clients = Clients::start(services.worker.grpc, "before", CLIENTS, MAX_TOKENS);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let data = services.predictor.data().to_owned();
    replace_by_file(&data);
    let noticed = until("health says that the log is not written", PATIENCE, async || {
        services.predictor.metric("log_state").await == -1.0
    })
    .await;
    fs::remove_file(&data).unwrap();
    let back =
        until("the log is written again", PATIENCE, async || services.predictor.metric("log_state").await == 1.0).await;
    let outcomes = clients.finish().await;
    println!(
        "a file in place of the folder: noticed after {noticed:.1} s, written again {back:.1} s after it was removed; {} requests, \
         {} failed",
        outcomes.len(),
        failures(&outcomes).len()
    );
    assert_none_failed(&outcomes);
    assert_whole(&logged_again(&services, "folder replaced by a file").await);
}

/// A predictor that logs to one file, as logrotate is used with, and its worker.
fn with_one_file(folder: &Path) -> (Predictor, Worker, PathBuf) {
    let file = folder.join("eos.jsonl");
    let launch = Launch::with(&["--log-file", &file.display().to_string()]);
    let predictor = Predictor::start(&folder.join("unused"), launch);
    let worker = Worker::start(&predictor.url(), &Launch::default());
    (predictor, worker, file)
}

/// Rotates the step file by `rotate` under load; steps of both files together.
async fn rotated(what: &str, rotate: impl FnOnce(&Path, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let (predictor, worker, file) = with_one_file(folder.path());
    let clients = Clients::start(worker.grpc, "rotated", CLIENTS, MAX_TOKENS);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let step_file = entries(folder.path()).into_iter().find(|path| *path == file || is_steps(path)).unwrap();
    let old = step_file.with_extension("jsonl.1");
    rotate(&step_file, &old);
    tokio::time::sleep(NOTICED).await;
    let outcomes = clients.finish().await;
    all_acknowledged(&worker).await;
    assert_none_failed(&outcomes);
    let texts = [&old, &step_file].map(|path| fs::read_to_string(path).unwrap());
    println!(
        "{what}: {} requests, {} and {} lines in the old and the new file; lines lost, as counted: {}",
        outcomes.len(),
        texts[0].lines().count(),
        texts[1].lines().count(),
        predictor.metric("log_lost_lines_total").await
    );
    assert!(!texts.iter().any(|text| text.contains('\0')), "no hole in the file");
    for text in &texts {
        assert!(text.lines().count() > 10, "both files are written");
        // The first line of a copy may be cut where the copy was made.
        let torn = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).count();
        assert!(torn <= 1, "{torn} lines are torn");
    }
}

fn is_steps(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with("eos") && !path.to_string_lossy().contains("request")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn logrotate_with_create_goes_on_in_the_new_file() {
    rotated("logrotate create", |file, old| {
        fs::rename(file, old).unwrap();
        fs::write(file, "").unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn logrotate_with_copytruncate_goes_on_at_the_start_of_the_file() {
    rotated("logrotate copytruncate", |file, old| {
        fs::copy(file, old).unwrap();
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
    })
    .await;
}

/// A small file system of its own at the log's folder; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with a line that says so, where nothing may be mounted.
    fn new(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", options, "tmpfs", &folder.display().to_string()]);
        if !mounted {
            println!("skipped: only root may mount a small file system");
        }
        mounted.then(|| Self(folder.to_owned()))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}"), &self.0.display().to_string()]), "cannot remount");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process may still hold a file of it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str]) -> bool {
    Command::new("mount").args(args).stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The log is on a file system with `options`, which fails it; `mend` gives it room again.
async fn recovers(
    what: &str,
    options: &str,
    predictor: &[&str],
    spoil: impl FnOnce(&Mounted),
    mend: impl FnOnce(&Mounted),
) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let Some(disk) = Mounted::new(&data, options) else { return };
    let predictor = Predictor::start(&data, Launch::with(predictor));
    let worker = Worker::start(&predictor.url(), &Launch::default());
    let clients = Clients::start(worker.grpc, "disk", CLIENTS, MAX_TOKENS);
    tokio::time::sleep(Duration::from_secs(2)).await;
    spoil(&disk);
    let failed =
        until("the log fails", Duration::from_secs(60), async || predictor.metric("log_state").await == -1.0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    mend(&disk);
    let back = until("the log is written again", PATIENCE, async || predictor.metric("log_state").await == 1.0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcomes = clients.finish().await;
    all_acknowledged(&worker).await;
    let found = agreement(&data, &outcomes);
    let lost = predictor.metric("log_lost_lines_total").await;
    println!(
        "{what}: failed after {failed:.1} s, written again {back:.1} s after there was room; {} requests, {} failed; {found:?}; \
         lines lost, as counted: {lost}",
        outcomes.len(),
        failures(&outcomes).len()
    );
    assert_none_failed(&outcomes);
    assert_eq!((found.doubled, found.wrong, found.outcomes_doubled), (0, 0, 0), "{found:?}");
    assert_eq!(found.outcomes_lost, 0, "outcomes that are owed are written when there is room again");
    assert!(found.lost > 0 && lost >= found.lost as f64, "{} steps are lost, {lost} lines counted", found.lost);
    println!("{}", replay(&data));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_full_disk_loses_steps_that_are_counted_and_no_outcome() {
    recovers("full disk", "size=1m", &[], |_| {}, |disk| disk.remount("size=60m")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_disk_without_inodes_is_as_a_full_one() {
    let small_segments = ["--segment-bytes", "200000"];
    recovers("no inodes left", "size=60m,nr_inodes=8", &small_segments, |_| {}, |disk| disk.remount("nr_inodes=1000"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_read_only_disk_is_as_a_full_one() {
    // A file system whose files are open for writing cannot be made read-only, but one that is can be mounted over it.
    let read_only = |disk: &Mounted| {
        let folder = disk.0.display().to_string();
        assert!(mount(&["-t", "tmpfs", "-o", "ro", "tmpfs", &folder]), "cannot mount a second file system");
    };
    recovers("read-only disk", "size=60m", &[], read_only, |disk| {
        assert!(Command::new("umount").arg(&disk.0).status().unwrap().success());
    })
    .await;
}
