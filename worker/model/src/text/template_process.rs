//! A chat template that is compiled and rendered in a process of its own.
//!
//! A template comes with a model file, which nobody has to trust. The library that compiles and renders it cannot bound everything
//! that a template does: `x + x` in a loop doubles a list, the compiler folds constants, lists in lists are compared and dropped
//! recursively. So the process limits its own memory, stack and time, and a template that exceeds one of them ends that process only.
//!
//! The program starts itself again: [`isolate_chat_templates`] is the first thing in its `main`. Parent and child exchange JSON
//! texts, each after a record separator and before a line feed (RFC 7464).

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use minijinja::Value;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::compiled_template::{CompiledTemplate, Conversation};
use super::error::{ChatTemplateError, TemplateLimit};

/// Memory that the process may take beside what it has at its start. A body of 4 MiB, the largest that a client may send, needs
/// some 50 MB.
const MAX_MEMORY_MIB: u64 = 512;
/// Stack that compiling and rendering run on. The deepest template that the compiler accepts needs a few MiB.
const STACK_MIB: usize = 64;
/// Longest time for compiling, and for one rendering. The fuel of a rendering lasts about a second.
const MAX_TIME: Duration = Duration::from_secs(10);
/// Longest answer: more text than any context holds.
const MAX_ANSWER_BYTES: u64 = 1 << 26;

/// What the program is called with when it serves as such a process.
const ARGUMENT: &str = "render-chat-templates";
/// How the process exits when time is over.
const TIME_IS_OVER: u8 = 3;
/// Begins each text (RFC 7464).
const RECORD_SEPARATOR: u8 = 0x1e;

/// Set where this program serves as such a process when it is called so.
static IS_ISOLATED: OnceLock<()> = OnceLock::new();

/// Call this first in `main`: from then on, chat templates are compiled and rendered in child processes that run this program.
/// In a child, it serves until the parent closes the child's input and returns the exit code. Without this call, templates are
/// compiled and rendered in the process itself, and only fuel bounds what they do.
#[must_use]
pub fn isolate_chat_templates() -> Option<ExitCode> {
    if std::env::args_os().nth(1) == Some(OsString::from(ARGUMENT)) {
        return Some(serve());
    }
    let _ = IS_ISOLATED.set(());
    None
}

/// How to start a child process: `None` where [`isolate_chat_templates`] was not called.
pub(super) fn launcher() -> Option<fn() -> io::Result<Command>> {
    IS_ISOLATED.get().map(|()| -> fn() -> io::Result<Command> { this_program })
}

fn this_program() -> io::Result<Command> {
    // Also there when the file was replaced by a newer version.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    let mut command = Command::new(program);
    command.arg(ARGUMENT);
    Ok(command)
}

/// A template's source and the special tokens that it may write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TemplateSource {
    pub(super) source: String,
    pub(super) bos_token: String,
    pub(super) eos_token: String,
}

/// What a child is asked to render.
#[derive(Serialize)]
pub(super) struct Request<'a, M> {
    pub(super) messages: &'a [M],
    pub(super) add_generation_prompt: bool,
    pub(super) kwargs: Option<&'a serde_json::Map<String, serde_json::Value>>,
}

/// The same as the child reads it.
#[derive(Deserialize)]
struct ReceivedRequest {
    messages: Value,
    add_generation_prompt: bool,
    kwargs: Option<Value>,
}

/// A child process with a compiled template.
pub(super) struct TemplateProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl TemplateProcess {
    /// Starts a child and has it compile a template.
    ///
    /// # Errors
    /// The child cannot be started, the template does not compile, or compiling it exceeds a limit.
    pub(super) fn start(command: Command, template: &TemplateSource) -> Result<Self, ChatTemplateError> {
        let mut process = Self::spawn(command).map_err(|error| ChatTemplateError::NoProcess(error.to_string()))?;
        let compiled: Result<(), String> = process.ask(template)?;
        compiled.map_err(ChatTemplateError::Syntax)?;
        Ok(process)
    }

    fn spawn(mut command: Command) -> io::Result<Self> {
        #[cfg(unix)]
        // Ctrl-C in a terminal ends the parent, and the parent its children.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.env("RUST_BACKTRACE", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| io::Error::other("no pipe"))?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// The template refuses the messages, fails or exceeds a limit. After [`ChatTemplateError::Limit`] the process is gone.
    pub(super) fn render<M: Serialize>(&mut self, request: &Request<'_, M>) -> Result<String, ChatTemplateError> {
        self.ask::<_, Result<String, ChatTemplateError>>(request)?
    }

    /// Sends a question and waits for the answer. The child takes care of the time.
    fn ask<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> Result<A, ChatTemplateError> {
        match self.exchange(question) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(self.reason_of_end()),
        }
    }

    /// `None` if the child ended.
    fn exchange<Q: Serialize, A: DeserializeOwned>(&mut self, question: &Q) -> io::Result<Option<A>> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        write_record(input, question)?;
        read_record(&mut self.output, MAX_ANSWER_BYTES)
    }

    fn reason_of_end(&mut self) -> ChatTemplateError {
        self.input = None;
        // A child that answers what cannot be read does not end by itself.
        let _ = self.child.kill();
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(error) => return ChatTemplateError::NoProcess(error.to_string()),
        };
        let mut last_words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(1 << 12).read_to_end(&mut last_words);
        }
        let last_words = String::from_utf8_lossy(&last_words);
        ChatTemplateError::Limit(if status.code() == Some(TIME_IS_OVER.into()) {
            TemplateLimit::Time(MAX_TIME.as_secs())
        } else if last_words.contains("has overflowed its stack") {
            TemplateLimit::Stack(STACK_MIB)
        } else if last_words.contains("memory allocation") {
            TemplateLimit::Memory(MAX_MEMORY_MIB)
        } else {
            TemplateLimit::Process(format!("{status} {}", last_words.trim()))
        })
    }
}

impl Drop for TemplateProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: compiles the template that it reads first, then renders conversations until its input ends.
fn serve() -> ExitCode {
    match limit_memory().and_then(|()| answer_all()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(unix)]
fn limit_memory() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Pages that the program has at its start; without them where the system does not tell.
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let most = pages * rustix::param::page_size() as u64 + ((MAX_MEMORY_MIB + STACK_MIB as u64) << 20);
    let limit = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, limit(most))?;
    // No file for each template that ends the process.
    Ok(setrlimit(Resource::Core, limit(0))?)
}

#[cfg(not(unix))]
fn limit_memory() -> io::Result<()> {
    Ok(())
}

/// Questions are answered on a thread with a stack of known size; this one looks at the clock.
fn answer_all() -> io::Result<ExitCode> {
    let (questions, received) = mpsc::channel::<Vec<u8>>();
    let (send_answer, answers) = mpsc::channel::<Vec<u8>>();
    std::thread::Builder::new().stack_size(STACK_MIB << 20).spawn(move || {
        let mut template = None;
        for question in received {
            if send_answer.send(answer(&mut template, &question)).is_err() {
                return;
            }
        }
    })?;
    let (mut input, mut output) = (BufReader::new(io::stdin().lock()), io::stdout().lock());
    while let Some(question) = read_record_bytes(&mut input, u64::MAX)? {
        if questions.send(question).is_err() {
            return Ok(ExitCode::FAILURE);
        }
        match answers.recv_timeout(MAX_TIME) {
            Ok(answer) => write_record_bytes(&mut output, &answer)?,
            Err(RecvTimeoutError::Timeout) => std::process::exit(TIME_IS_OVER.into()),
            Err(RecvTimeoutError::Disconnected) => return Ok(ExitCode::FAILURE),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(template: &mut Option<CompiledTemplate>, question: &[u8]) -> Vec<u8> {
    let answer = match template {
        None => serde_json::to_vec(&compile(question).map(|compiled| *template = Some(compiled))),
        Some(template) => serde_json::to_vec(&render(template, question)),
    };
    // Texts and numbers can always be written.
    answer.unwrap_or_default()
}

fn compile(question: &[u8]) -> Result<CompiledTemplate, String> {
    let template: TemplateSource = serde_json::from_slice(question).map_err(|error| error.to_string())?;
    CompiledTemplate::new(&template.source, template.bos_token, template.eos_token)
}

fn render(template: &CompiledTemplate, question: &[u8]) -> Result<String, ChatTemplateError> {
    let request: ReceivedRequest =
        serde_json::from_slice(question).map_err(|error| ChatTemplateError::Failed(error.to_string()))?;
    let ReceivedRequest { messages, add_generation_prompt, kwargs } = request;
    template.render(Conversation { messages, add_generation_prompt, kwargs: kwargs.unwrap_or_default() })
}

fn write_record(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    write_record_bytes(output, &serde_json::to_vec(value)?)
}

fn write_record_bytes(output: &mut impl Write, text: &[u8]) -> io::Result<()> {
    output.write_all(&[&[RECORD_SEPARATOR], text, b"\n"].concat())?;
    output.flush()
}

fn read_record<T: DeserializeOwned>(input: &mut impl BufRead, most: u64) -> io::Result<Option<T>> {
    let record = read_record_bytes(input, most)?;
    Ok(record.map(|record| serde_json::from_slice(&record)).transpose()?)
}

/// The next text, or `None` at the end of the input.
fn read_record_bytes(input: &mut impl BufRead, most: u64) -> io::Result<Option<Vec<u8>>> {
    if input.skip_until(RECORD_SEPARATOR)? == 0 {
        return Ok(None);
    }
    let mut record = Vec::new();
    input.take(most).read_until(b'\n', &mut record)?;
    Ok((record.last() == Some(&b'\n')).then_some(record))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::time::Instant;

    const SERVES: &str = "EOSCAST_TEST_RENDERS_CHAT_TEMPLATES";

    /// This test binary, as a child that serves.
    pub(in crate::text) fn this_binary() -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "text::template_process::tests::serves", "--nocapture", "--ignored"]).env(SERVES, "");
        Ok(command)
    }

    #[test]
    #[ignore = "a child process of the other tests"]
    fn serves() {
        if std::env::var_os(SERVES).is_some() {
            let code = if serve() == ExitCode::SUCCESS { 0 } else { 1 };
            std::process::exit(code);
        }
    }

    pub(in crate::text) fn source(source: &str) -> TemplateSource {
        TemplateSource { source: source.to_owned(), bos_token: "<s>".to_owned(), eos_token: "</s>".to_owned() }
    }

    fn start(template: &str) -> Result<TemplateProcess, ChatTemplateError> {
        TemplateProcess::start(this_binary().unwrap(), &source(template))
    }

    fn request<M>(messages: &[M]) -> Request<'_, M> {
        Request { messages, add_generation_prompt: true, kwargs: None }
    }

    /// The error of a template that renders no messages.
    fn error_of(template: &str) -> ChatTemplateError {
        let rendered = start(template).and_then(|mut process| process.render(&request::<u8>(&[])));
        rendered.err().unwrap_or_else(|| panic!("renders: {template}"))
    }

    fn limit_of(template: &str) -> TemplateLimit {
        match error_of(template) {
            ChatTemplateError::Limit(limit) => limit,
            error => panic!("{error} of {template}"),
        }
    }

    #[test]
    fn a_conversation_renders_as_in_this_process() {
        let template = "{{ bos_token }}{% for m in messages %}{% for k, v in m.items() %}{{ k }}={{ v|tojson }};{% endfor %}\
            {% endfor %}{{ z }}{{ a.x }}{{ add_generation_prompt }}{{ missing }}{{ eos_token }}\n";
        #[derive(Serialize)]
        struct Message {
            role: &'static str,
            content: &'static str,
            anything: serde_json::Value,
        }
        let anything = serde_json::json!([1, -1, 0.1, 1e300, u64::MAX, null, true, { "b": { "a": "\u{1e}\n" } }]);
        let messages = [Message { role: "user", content: "é\u{1e}\n\0😀", anything }];
        let kwargs = serde_json::json!({ "z": 1.5, "a": { "x": [] }, "bos_token": "no" });
        let request = Request { kwargs: kwargs.as_object(), ..request(&messages) };
        let apart = start(template).unwrap().render(&request).unwrap();
        let here = CompiledTemplate::new(template, "<s>".to_owned(), "</s>".to_owned()).unwrap();
        let here = here.render(Conversation {
            messages: Value::from(minijinja::value::Serde(&messages)),
            add_generation_prompt: true,
            kwargs: Value::from(minijinja::value::Serde(&kwargs)),
        });
        assert_eq!(apart, here.unwrap());
        assert!(apart.starts_with("<s>role=\"user\";content="), "{apart}");
    }

    #[test]
    fn one_process_renders_many_conversations() {
        let mut process =
            start("{{ messages|length }}{% if messages[0] == 3 %}{{ raise_exception('no') }}{% endif %}").unwrap();
        for length in 0..10u8 {
            let messages = vec![length; length.into()];
            match process.render(&request(&messages)) {
                Err(ChatTemplateError::Rejected(reason)) => assert_eq!((length, reason.as_str()), (3, "no")),
                rendered => assert_eq!(rendered.unwrap(), length.to_string()),
            }
        }
    }

    #[test]
    fn a_faulty_template_is_told_with_its_line() {
        let error = start("a\n{% for %}").err().unwrap();
        assert!(matches!(&error, ChatTemplateError::Syntax(fault) if fault.starts_with("line 2")), "{error}");
    }

    #[test]
    fn nesting_takes_no_more_than_the_stack() {
        let nested = "{% set n = namespace(x=[]) %}{% for i in range(999) %}{% for j in range(999) %}\
            {% set n.x = [n.x] %}{% endfor %}{% endfor %}";
        let cycle = "{% set n = namespace() %}{% set n.x = n %}{{ n }}";
        assert_eq!(limit_of(cycle), TemplateLimit::Stack(STACK_MIB));
        // On a machine with much to do, time may be over first.
        assert!(matches!(limit_of(nested), TemplateLimit::Stack(_) | TemplateLimit::Time(_)));
    }

    /// Largest resident memory of a process, in MiB, until it ends.
    #[cfg(target_os = "linux")]
    fn peak_mib(pid: u32) -> u64 {
        let mut peak = 0;
        while let Ok(pages) = std::fs::read_to_string(format!("/proc/{pid}/statm")) {
            let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
            if resident == 0 {
                break;
            }
            peak = peak.max((resident * rustix::param::page_size() as u64) >> 20);
            std::thread::sleep(Duration::from_millis(5));
        }
        peak
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn doubling_takes_no_more_than_the_memory() {
        let list = "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}";
        let tuples =
            "{% set n = namespace(x=()) %}{% for i in range(99) %}{% set n.x = n.x + ((0,) * 999999,) %}{% endfor %}";
        let printed = "{% set s = 'a' * 9999999 %}{{ [s, s, s, s, s] * 99 ~ '' }}";
        let characters = "{% set s = 'a' * 99999999 %}{{ s.strip(s) }}";
        let take = |template| {
            let mut process = start(template).unwrap();
            let pid = process.id();
            let watch = std::thread::spawn(move || peak_mib(pid));
            let error = process.render(&request::<u8>(&[])).unwrap_err();
            drop(process);
            let peak = watch.join().unwrap();
            // A slow build may run out of time first.
            assert!(
                matches!(error, ChatTemplateError::Limit(_) | ChatTemplateError::TooMuchWork),
                "{error} of {template}"
            );
            assert!(peak < MAX_MEMORY_MIB + 150, "{peak} MiB of {template}");
        };
        std::thread::scope(|scope| {
            for template in [list, tuples, printed, characters] {
                scope.spawn(move || take(template));
            }
        });
        assert_eq!(limit_of(characters), TemplateLimit::Memory(MAX_MEMORY_MIB));
    }

    #[test]
    fn compiling_and_rendering_end_when_time_is_over() {
        let folded = format!("{{{{ [0]{} }}}}", " * 99999999 == [0]".repeat(99));
        let compared = "{% set n = namespace(x=1, y=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}\
            {% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}";
        let start = Instant::now();
        std::thread::scope(|scope| {
            for template in [folded.as_str(), compared] {
                scope.spawn(move || {
                    assert_eq!(limit_of(template), TemplateLimit::Time(MAX_TIME.as_secs()), "{template}")
                });
            }
        });
        assert!(start.elapsed() < 3 * MAX_TIME, "{:?}", start.elapsed());
    }
}
