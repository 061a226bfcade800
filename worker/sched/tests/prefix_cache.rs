//! Steps with shared prefixes, worked out by hand. One letter is one token.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use eoscast_sched::{
    PrefixHasher, Request, RequestKey, Scheduler, SchedulerConfig, StepOutcome, StepPlan, Work, WorkDone,
};

const CONFIG: SchedulerConfig =
    SchedulerConfig { block_size: 4, num_blocks: 16, max_running: 4, max_batched_tokens: 32 };

/// A scheduler and the tokens of its requests; each generates dots.
struct TokenEngine {
    scheduler: Scheduler,
    hasher: PrefixHasher<BuildHasherDefault<DefaultHasher>>,
    tokens: BTreeMap<RequestKey, Vec<u32>>,
}

impl TokenEngine {
    fn new(config: SchedulerConfig, policy: &str) -> Self {
        let half = BuildHasherDefault::default();
        Self {
            scheduler: Scheduler::new(config, policy.parse().unwrap()).unwrap(),
            hasher: PrefixHasher::new(config.block_size, [half.clone(), half]),
            tokens: BTreeMap::new(),
        }
    }

    fn add(&mut self, key: RequestKey, prompt: &str, max_tokens: u32) {
        let prompt_tokens = prompt.len() as u32;
        let request = Request { key, prompt_tokens, max_tokens, priority: 0, arrival: key as f64, deadline: None };
        self.scheduler.add(request).unwrap();
        self.tokens.insert(key, prompt.bytes().map(u32::from).collect());
        self.tell_hashes(key);
    }

    fn tell_hashes(&mut self, key: RequestKey) {
        let further = self.hasher.further(self.scheduler.block_hashes(key), &self.tokens[&key]);
        self.scheduler.extend_hashes(key, further);
    }

    fn step(&mut self) -> StepPlan {
        let plan = self.scheduler.schedule(0.0, &mut |_| None);
        let appended = |work: &Work| u32::from(work.samples);
        let done = plan.work.iter().map(|work| WorkDone { key: work.key, appended: appended(work), finished: false });
        self.scheduler.apply(&StepOutcome { work: done.collect() });
        for work in plan.work.iter().filter(|work| work.samples) {
            self.tokens.get_mut(&work.key).unwrap().push(u32::from(b'.'));
            self.tell_hashes(work.key);
        }
        plan
    }

    /// First position and number of positions of each request in a plan.
    fn work(&mut self) -> Vec<(RequestKey, u32, u32)> {
        self.step().work.iter().map(|work| (work.key, work.start, work.tokens)).collect()
    }
}

#[test]
fn a_prompt_that_begins_as_a_running_one_computes_only_what_differs() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "system: be brief. How?", 8);
    assert_eq!(engine.work(), [(1, 0, 22)]);
    engine.add(2, "system: be brief. When?", 8);
    // "system: be brief" is 4 blocks.
    assert_eq!(engine.work(), [(1, 22, 1), (2, 16, 7)]);
    let (one, two) = (engine.scheduler.block_table(1), engine.scheduler.block_table(2));
    assert_eq!(one[..4], two[..4]);
    assert!(one[4..].iter().all(|id| !two.contains(id)));
    // Four shared, two of each.
    assert_eq!(engine.scheduler.stats().blocks_used, 8);
}

#[test]
fn the_last_known_token_is_computed_in_any_case() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "abcdefgh", 1);
    assert_eq!(engine.work(), [(1, 0, 8)]);
    engine.add(2, "abcdefgh", 4);
    assert_eq!(engine.work(), [(2, 4, 4)]);
    let stats = engine.scheduler.stats();
    assert_eq!((stats.prefix_queries_total, stats.prefix_hits_total), (4 + 4, 4));
}

#[test]
fn a_conversation_finds_the_reply_it_goes_on_from() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "abcdef", 7);
    while engine.scheduler.view(1).is_some() {
        engine.step();
    }
    // The seventh dot was never computed: of "abcdef......." there are 12 positions.
    engine.add(2, "abcdef....... and then", 4);
    assert_eq!(engine.work(), [(2, 12, 10)]);
}

#[test]
fn equal_prompts_in_one_step_are_computed_apart_and_share_afterwards() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "abcdefghij", 8);
    engine.add(2, "abcdefghij", 8);
    let plan = engine.scheduler.schedule(0.0, &mut |_| None);
    let disjoint = |scheduler: &Scheduler| {
        let (one, two) = (scheduler.block_table(1), scheduler.block_table(2));
        one.iter().zip(two).map(|(one, two)| one != two).collect::<Vec<_>>()
    };
    assert_eq!(plan.work.iter().map(|work| work.start).collect::<Vec<_>>(), [0, 0]);
    assert_eq!((disjoint(&engine.scheduler), engine.scheduler.stats().blocks_used), (vec![true; 3], 6));
    let done = |key| WorkDone { key, appended: 1, finished: false };
    engine.scheduler.apply(&StepOutcome { work: vec![done(1), done(2)] });
    assert_eq!((disjoint(&engine.scheduler), engine.scheduler.stats().blocks_used), (vec![false, false, true], 4));
}

#[test]
fn nothing_is_found_of_a_step_that_was_not_applied() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "abcdefghij", 8);
    engine.scheduler.schedule(0.0, &mut |_| None);
    assert!(engine.scheduler.abort(1));
    engine.scheduler.apply(&StepOutcome::default());
    engine.add(2, "abcdefghij", 8);
    assert_eq!(engine.work(), [(2, 0, 10)]);
}

#[test]
fn a_victim_comes_back_to_what_is_left_of_its_blocks() {
    // Two blocks each; the fifth goes to request 1, which four steps later takes the last of the victim's.
    for (steps, work, recomputed) in [(0, (2, 8, 1), 0), (4, (2, 4, 5), 4)] {
        let mut engine = TokenEngine::new(SchedulerConfig { num_blocks: 5, ..CONFIG }, "fcfs");
        engine.add(1, "abcdefg", 8);
        engine.add(2, "mnopqrs", 12);
        while engine.step().preempted != [2] {}
        for _ in 0..steps {
            assert_eq!(engine.step().admitted, []);
        }
        assert!(engine.scheduler.abort(1));
        assert_eq!(engine.work(), [work]);
        assert_eq!(engine.scheduler.stats().recomputed_tokens_total, recomputed);
    }
}

#[test]
fn blocks_found_idle_count_as_taken_and_blocks_found_held_do_not() {
    let mut engine = TokenEngine::new(SchedulerConfig { num_blocks: 5, ..CONFIG }, "fcfs");
    engine.add(1, "abcdefghijkl", 1);
    engine.step();
    assert_eq!(engine.scheduler.stats().blocks_used, 0);
    // Two blocks of the running request, and three idle ones of which "abcdefgh" reuses two and "mnop" takes the third.
    engine.add(2, "1234567", 2);
    engine.add(3, "abcdefghmnop", 2);
    assert_eq!(engine.work(), [(2, 0, 7), (3, 8, 4)]);

    let mut engine = TokenEngine::new(SchedulerConfig { num_blocks: 5, ..CONFIG }, "fcfs");
    engine.add(1, "abcdefghijkl", 3);
    engine.step();
    engine.add(2, "abcdefghmnop", 3);
    // Three blocks and a fourth of the first, one more of the second.
    assert_eq!(engine.work(), [(1, 12, 1), (2, 8, 4)]);
    assert_eq!(engine.scheduler.stats().blocks_used, 5);
}

#[test]
fn a_request_without_hashes_shares_nothing() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "abcdefgh", 8);
    engine.step();
    let request = Request { key: 2, prompt_tokens: 8, max_tokens: 8, priority: 0, arrival: 2.0, deadline: None };
    engine.scheduler.add(request).unwrap();
    engine.tokens.insert(2, Vec::new());
    assert_eq!(engine.work(), [(1, 8, 1), (2, 0, 8)]);
}

#[test]
fn hashes_of_tokens_that_are_not_known_yet_are_passed_over() {
    let mut engine = TokenEngine::new(CONFIG, "fcfs");
    engine.add(1, "abcdefgh", 8);
    let more: Vec<_> = engine.hasher.further(&[], &[1; 40]).collect();
    engine.scheduler.extend_hashes(1, more.clone());
    engine.scheduler.extend_hashes(9, more);
    assert_eq!(engine.scheduler.block_hashes(1).len(), 2);
}
