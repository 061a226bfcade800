//! One of our binaries as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long a process may take to load a model and listen.
const START_DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// A child process; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<String>>,
    /// Ends with the stderr of the child.
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `name` (a binary of this workspace) with `args`, and none of the caller's `EOSCAST_` variables but those in
    /// `envs` and the model folder.
    ///
    /// # Errors
    /// When the binary is not built or cannot be started.
    pub fn start(name: &str, args: &[String], envs: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start_command(name, Command::new(binary(name)?), args, envs)
    }

    /// The same at the lowest priority, as `make serve` starts the predictor.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_nice(name: &str, args: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(binary(name)?);
        Self::start_command(name, command, args, &[])
    }

    /// The same by a command of the caller: a binary of another build, or a program that starts the binary under limits.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn start_command(
        name: &str,
        mut command: Command,
        args: &[String],
        envs: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("EOSCAST_") || key == "RUST_LOG") {
            command.env_remove(key);
        }
        command.env("EOSCAST_MODELS", models_folder()).envs(envs.iter().map(|(key, value)| (key, value)));
        let mut child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, sink) = (child.stderr.take().context("stderr is piped")?, Arc::clone(&log));
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Ok(Self { name: name.to_owned(), child, log, reader: Some(reader) })
    }

    /// Waits until the process logs `key=ADDRESS` and gives the address.
    ///
    /// # Errors
    /// When it ends, or does not listen in time; with its log.
    pub fn address(&mut self, key: &str) -> anyhow::Result<SocketAddr> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            if let Some(address) = find_address(&self.log(), key) {
                return Ok(address);
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            ensure!(Instant::now() < deadline, "{} did not listen in time:\n{}", self.name, self.log());
            thread::sleep(POLL);
        }
    }

    /// How the process ended, if it has; then its log is whole.
    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some()
            && let Some(reader) = self.reader.take()
        {
            // A reader that panicked has read what it could.
            let _ = reader.join();
        }
        Ok(status)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// SIGSTOP: the process stays, and does nothing.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn stall(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "kill ended with {status}");
        Ok(())
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it does not within `patience`; with its log.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} did not end in time:\n{}", self.name, self.log());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A binary of this workspace, beside the running one.
///
/// # Errors
/// When it is not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    // Test binaries lie one folder deeper, in `deps`.
    let path = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    path.with_context(|| format!("{name} is not built: run `make build`"))
}

/// Where `make setup` puts models.
pub fn models_folder() -> String {
    std::env::var("EOSCAST_MODELS").unwrap_or_else(|_| {
        // This crate lies in `tests/pair`.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        root.join("models").display().to_string()
    })
}

fn find_address(log: &str, key: &str) -> Option<SocketAddr> {
    let marker = format!(" {key}=");
    let line = log.lines().find(|line| line.contains("listening") && line.contains(&marker))?;
    line.split(&marker).nth(1)?.split_whitespace().next()?.parse().ok()
}
