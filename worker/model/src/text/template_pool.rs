//! Several processes that render one template at the same time.

use std::io;
use std::process::Command;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::{ChatTemplateError, TemplateLimit};
use super::template_process::{Request, TemplateProcess, TemplateSource};

/// Renderings at the same time; one takes about a millisecond. Bounds the memory of templates that exceed their limits.
const MAX_PROCESSES: usize = 4;
/// Renderings that wait for a process. More are refused, so that threads remain for other requests.
const MAX_WAITING: usize = 64;
/// Longest wait for a process.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Processes with one template, started when they are needed.
pub(super) struct TemplatePool {
    template: TemplateSource,
    command: fn() -> io::Result<Command>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<TemplateProcess>,
    /// Renderings that have a process, or are starting one.
    busy: usize,
    waiting: usize,
}

impl TemplatePool {
    /// Compiles `template` in a first process, which `command` starts, if that can be started now.
    ///
    /// # Errors
    /// The template does not compile, or compiling it exceeds a limit.
    pub(super) fn new(
        command: fn() -> io::Result<Command>,
        template: TemplateSource,
    ) -> Result<Self, ChatTemplateError> {
        let (state, returned) = (Mutex::default(), Condvar::new());
        let pool = Self { template, command, state, returned };
        match pool.start() {
            Ok(first) => pool.lock().idle.push(first),
            // Says nothing of the template: rendering tries again.
            Err(ChatTemplateError::NoProcess(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(pool)
    }

    fn start(&self) -> Result<TemplateProcess, ChatTemplateError> {
        let command = (self.command)().map_err(|error| ChatTemplateError::NoProcess(error.to_string()))?;
        TemplateProcess::start(command, &self.template)
    }

    /// Renders a conversation. Blocks while it renders, and while all processes are busy.
    ///
    /// # Errors
    /// The template refuses the messages, fails or exceeds a limit; all processes stay busy; none can be started.
    pub(super) fn render<M: Serialize>(&self, request: &Request<'_, M>) -> Result<String, ChatTemplateError> {
        let place = self.wait_for_place()?;
        if let Some(mut process) = place.take_idle() {
            match process.render(request) {
                // What earlier renderings left in it may have been too much. A new process tells.
                Err(ChatTemplateError::Limit(limit)) if !matches!(limit, TemplateLimit::Time(_)) => {}
                Err(error @ ChatTemplateError::Limit(_)) => return Err(error),
                rendered => {
                    place.put_back(process);
                    return rendered;
                }
            }
        }
        let mut process = self.start()?;
        let rendered = process.render(request);
        if !matches!(rendered, Err(ChatTemplateError::Limit(_))) {
            place.put_back(process);
        }
        rendered
    }

    fn wait_for_place(&self) -> Result<Place<'_>, ChatTemplateError> {
        let until = Instant::now() + MAX_WAIT;
        let mut state = self.lock();
        if state.busy >= MAX_PROCESSES {
            if state.waiting >= MAX_WAITING {
                return Err(ChatTemplateError::Busy);
            }
            state.waiting += 1;
            let wait = until.saturating_duration_since(Instant::now());
            let waited = self.returned.wait_timeout_while(state, wait, |state| state.busy >= MAX_PROCESSES);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
            if state.busy >= MAX_PROCESSES {
                return Err(ChatTemplateError::Busy);
            }
        }
        state.busy += 1;
        drop(state);
        Ok(Place { pool: self })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one process, given back when it is dropped.
struct Place<'a> {
    pool: &'a TemplatePool,
}

impl Place<'_> {
    fn take_idle(&self) -> Option<TemplateProcess> {
        self.pool.lock().idle.pop()
    }

    fn put_back(&self, process: TemplateProcess) {
        self.pool.lock().idle.push(process);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.lock().busy -= 1;
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::template_process::tests::{source, this_binary};
    use super::*;

    fn pool(template: &str) -> TemplatePool {
        TemplatePool::new(this_binary, source(template)).unwrap()
    }

    fn render(pool: &TemplatePool, message: &str) -> Result<String, ChatTemplateError> {
        pool.render(&Request { messages: &[message], add_generation_prompt: true, kwargs: None })
    }

    /// Compares two trees that are exponentially large, for ever.
    const FOR_EVER: &str = "{% set n = namespace(x=1, y=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}\
        {% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}";

    #[test]
    fn a_process_is_used_again_until_its_memory_is_gone_and_then_replaced() {
        // A namespace that holds itself is never freed.
        let pool = pool("{% set n = namespace(s='a' * 99999999) %}{% set n.n = n %}{{ messages[0] }}");
        let first = pool.lock().idle[0].id();
        assert_eq!(render(&pool, "hi").unwrap(), "hi");
        assert_eq!(pool.lock().idle[0].id(), first);
        for _ in 0..8 {
            assert_eq!(render(&pool, "hi").unwrap(), "hi");
        }
        assert_ne!(pool.lock().idle[0].id(), first);
    }

    #[test]
    fn slow_renderings_leave_room_for_others_and_no_more_wait_than_allowed() {
        let pool = pool(&format!("{{% if messages[0] == 'slow' %}}{FOR_EVER}{{% endif %}}{{{{ messages[0] }}}}"));
        std::thread::scope(|scope| {
            let slow = || scope.spawn(|| render(&pool, "slow"));
            let mut slow_ones: Vec<_> = (1..MAX_PROCESSES).map(|_| slow()).collect();
            while pool.lock().busy < MAX_PROCESSES - 1 {
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(render(&pool, "quick").unwrap(), "quick");
            assert_eq!(pool.lock().busy, MAX_PROCESSES - 1, "the slow ones have not ended");
            slow_ones.push(slow());
            while pool.lock().busy < MAX_PROCESSES {
                std::thread::sleep(Duration::from_millis(5));
            }
            let waiting: Vec<_> = (0..=MAX_WAITING).map(|_| scope.spawn(|| render(&pool, "quick"))).collect();
            let waited: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(waited.iter().any(|rendered| matches!(rendered, Err(ChatTemplateError::Busy))));
            for slow in slow_ones {
                assert!(matches!(slow.join().unwrap(), Err(ChatTemplateError::Limit(TemplateLimit::Time(_)))));
            }
        });
        assert_eq!(render(&pool, "quick").unwrap(), "quick");
    }

    #[test]
    fn a_template_that_does_not_compile_has_no_pool() {
        assert!(matches!(TemplatePool::new(this_binary, source("{% for %}")), Err(ChatTemplateError::Syntax(_))));
    }

    #[test]
    fn a_process_that_cannot_be_started_yet_is_no_fault_of_the_template() {
        let pool = TemplatePool::new(|| Err(io::ErrorKind::WouldBlock.into()), source("{{ messages[0] }}")).unwrap();
        assert!(matches!(render(&pool, "hi"), Err(ChatTemplateError::NoProcess(_))));
        let pool = TemplatePool { command: this_binary, ..pool };
        assert_eq!(render(&pool, "hi").unwrap(), "hi");
    }
}
