//! A small pool of threads for kernels. Tasks are numbered; which thread runs one does not change what it computes, so results
//! do not depend on the number of threads.

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle thread looks for the next job before it sleeps: longer than the gap between two kernels of a step, short
/// enough to leave the core to network threads.
const SPIN: Duration = Duration::from_micros(30);

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads that run numbered tasks together with the caller.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held by the caller whose job the threads work on.
    in_use: Mutex<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// Number of jobs published so far; a copy outside the lock, to spin on.
    published: AtomicU64,
}

#[derive(Default)]
struct State {
    job: Option<Arc<Job>>,
    sleeping: usize,
    stop: bool,
}

struct Job {
    /// Points into the stack of the caller of [`Pool::run`]: read only by the holder of an unfinished task.
    task: *const Task<'static>,
    /// One for each thread.
    shares: Vec<Share>,
    finished: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Consecutive tasks that one thread claims first, and others when they have run out of their own. On a cache line of its own:
/// where cores are far apart, a counter that all of them change costs more than a small task.
#[repr(align(128))]
struct Share {
    next: AtomicUsize,
    end: usize,
}

// SAFETY: the task behind the pointer is `Sync`, and `Pool::run` keeps it alive until every claimed task has finished.
#[expect(unsafe_code, reason = "a job borrows from the stack of the thread that waits for it")]
unsafe impl Send for Job {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a job borrows from the stack of the thread that waits for it")]
unsafe impl Sync for Job {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn new(task: *const Task<'static>, tasks: usize, threads: usize) -> Self {
        let start = |thread: usize| thread * tasks / threads;
        let share = |thread| Share { next: AtomicUsize::new(start(thread)), end: start(thread + 1) };
        let shares = (0..threads).map(share).collect();
        Self { task, shares, finished: AtomicUsize::new(0), panic: Mutex::new(None) }
    }

    /// Works on the thread's own share, then on what is left of the others.
    fn work(&self, thread: usize) {
        let mut finished = 0;
        for offset in 0..self.shares.len() {
            let share = &self.shares[(thread + offset) % self.shares.len()];
            while share.next.load(Ordering::Relaxed) < share.end {
                let index = share.next.fetch_add(1, Ordering::Relaxed);
                if index < share.end {
                    self.run(index);
                    finished += 1;
                }
            }
        }
        self.finished.fetch_add(finished, Ordering::Release);
    }

    fn run(&self, index: usize) {
        let run = || {
            // SAFETY: this task is claimed and not finished, so `Pool::run` has not returned and the pointee lives.
            #[expect(unsafe_code, reason = "see the field")]
            let task = unsafe { &*self.task };
            task(index);
        };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            lock(&self.panic).get_or_insert(payload);
        }
    }
}

impl Shared {
    /// Waits for a job newer than `seen` and enters it; `None` at the end of the pool.
    fn next_job(&self, seen: &mut u64) -> Option<Arc<Job>> {
        let start = Instant::now();
        while self.published.load(Ordering::Acquire) == *seen && start.elapsed() < SPIN {
            std::hint::spin_loop();
        }
        let mut state = lock(&self.state);
        while self.published.load(Ordering::Acquire) == *seen && !state.stop {
            state.sleeping += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
        *seen = self.published.load(Ordering::Acquire);
        if state.stop { None } else { state.job.clone() }
    }
}

static GLOBAL: OnceLock<Pool> = OnceLock::new();

impl Pool {
    /// A pool in which `threads` threads work, the caller included. A thread that the system refuses is done without.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        let shared = Arc::new(Shared::default());
        let spawn = |index| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("kernel-{index}")).spawn(move || {
                let mut seen = 0;
                while let Some(job) = shared.next_job(&mut seen) {
                    job.work(index);
                }
            })
        };
        let threads = (1..threads.get()).map_while(|index| spawn(index).ok()).collect();
        Self { shared, threads, in_use: Mutex::new(()) }
    }

    /// The pool that kernels use; made on first use with one thread for each physical core that the process may use.
    pub fn global() -> &'static Self {
        GLOBAL.get_or_init(|| {
            let usable = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
            let physical = NonZeroUsize::new(num_cpus::get_physical()).unwrap_or(usable);
            Self::new(usable.min(physical))
        })
    }

    /// Makes the pool that kernels use, before their first use. False where it exists already and stays as it is.
    pub fn set_global(threads: NonZeroUsize) -> bool {
        let mut made = false;
        GLOBAL.get_or_init(|| {
            made = true;
            Self::new(threads)
        });
        made
    }

    /// Threads that work on a job, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `task` once with each of `0..tasks`, and returns when all have returned. A panic in a task is passed on.
    ///
    /// When the pool is busy with another caller's job (or with the job that this call is made from), the caller works alone.
    pub(crate) fn run(&self, tasks: usize, task: &Task<'_>) {
        let in_use = if tasks > 1 && !self.threads.is_empty() { self.in_use.try_lock().ok() } else { None };
        if in_use.is_none() {
            return (0..tasks).for_each(task);
        }
        let task: *const Task<'_> = task;
        // SAFETY: only the lifetime changes; this function outlives every use of the pointer (it waits for `finished` below).
        #[expect(unsafe_code, reason = "lets pool threads borrow from this stack frame")]
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        let job = Arc::new(Job::new(task, tasks, self.threads()));
        {
            let mut state = lock(&self.shared.state);
            state.job = Some(Arc::clone(&job));
            self.shared.published.fetch_add(1, Ordering::Release);
            if state.sleeping > 0 {
                self.shared.wake.notify_all();
            }
        }
        job.work(0);
        let mut spins = 0_u32;
        while job.finished.load(Ordering::Acquire) < tasks {
            spins += 1;
            if spins.is_multiple_of(4096) {
                // The thread we wait for may need this core.
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
        drop(in_use);
        let payload = lock(&job.panic).take();
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }

    /// Calls `task` once with each of `0..tasks` on the threads of the pool, waits, and returns the results in that order. A panic
    /// in a task is passed on. If the pool is busy, the caller works alone.
    pub fn map<T: Send + Sync>(&self, tasks: usize, task: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let slots: Vec<OnceLock<T>> = (0..tasks).map(|_| OnceLock::new()).collect();
        self.run(tasks, &|index| {
            slots[index].get_or_init(|| task(index));
        });
        slots.into_iter().filter_map(OnceLock::into_inner).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A pool thread never panics (tasks are caught), so there is nothing to pass on.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).unwrap())
    }

    fn counts(pool: &Pool, tasks: usize) -> Vec<usize> {
        let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.run(tasks, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in [1, 2, 5] {
            let pool = pool(threads);
            for tasks in (0..200).chain([5000]) {
                assert_eq!(counts(&pool, tasks), vec![1; tasks]);
            }
        }
    }

    #[test]
    fn results_come_in_the_order_of_their_tasks() {
        assert_eq!(pool(3).map(100, |index| 2 * index), (0..100).map(|index| 2 * index).collect::<Vec<_>>());
    }

    #[test]
    fn threads_that_fell_asleep_wake_for_the_next_job() {
        let pool = pool(3);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(counts(&pool, 64), vec![1; 64]);
        }
    }

    #[test]
    fn callers_that_meet_all_finish() {
        let pool = pool(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| assert_eq!(counts(&pool, 9), vec![1; 9])));
            }
        });
    }

    #[test]
    fn a_task_may_start_a_job_of_its_own() {
        let pool = pool(2);
        pool.run(4, &|_| assert_eq!(counts(&pool, 8), vec![1; 8]));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = pool(2);
        let run = || pool.run(16, &|i| assert_ne!(i, 7));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(counts(&pool, 16), vec![1; 16]);
    }
}
