//! The live requests, and the three calls `schedule`, `apply` and `abort`.

use crate::admit::Gate;
use crate::blocks::BlockPool;
use crate::config::{ConfigError, SchedulerConfig};
use crate::deadline::pressing;
use crate::forecast_load::{ForecastLoad, ForecastUse};
use crate::history::LengthHistory;
use crate::live::LiveRequest;
use crate::measured::MeasuredTimes;
use crate::order::Moment;
use crate::ordinal::OrdinalMap;
use crate::plan::{StepOutcome, StepPlan, Work};
use crate::policy::Policy;
use crate::prefix::BlockHash;
use crate::queue::{Rank, WaitingQueue};
use crate::remaining::RemainingLength;
use crate::stats::Stats;
use crate::view::{AddError, Outlook, Request, RequestKey, RequestView};

/// Waiting requests whose rank is brought up to date in a step, in turn, so that a step's cost does not grow with the
/// queue. A queue up to this length is refreshed whole.
const REFRESHED_PER_STEP: usize = 64;

/// Waiting requests whose forecasts count in the load, so that its cost does not grow with the queue. Those behind are
/// taken to be as long as these.
const WAITING_IN_LOAD: usize = 1024;

type ForecastFn<'a> = dyn FnMut(&RequestView) -> Option<RemainingLength> + 'a;

/// A continuous-batching scheduler over a KV block budget.
///
/// Each step: running decodes get their token, then prefill chunks in running order share the rest of
/// `max_batched_tokens`, then waiting requests are admitted to what is left. When the decodes' blocks run out, requests
/// are preempted: their blocks are freed, their tokens kept, and they go to the head of the queue. A step that preempts
/// admits nobody.
///
/// A full block whose content is told by [`extend_hashes`](Self::extend_hashes) may be found again by any request with
/// the same prefix when it is admitted, from the step after the one that computed it until its memory is needed. What
/// is found need not be computed, except for the last known token, which gives the logits.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    policy: Policy,
    gate: Gate,
    pool: BlockPool,
    live: OrdinalMap<LiveRequest>,
    /// In order of admission.
    running: Vec<RequestKey>,
    /// Added, not yet ranked into `waiting`; may hold keys aborted since.
    arrived: Vec<RequestKey>,
    waiting: WaitingQueue,
    /// Lengths of those that ended, for those of which nothing is forecast.
    history: LengthHistory,
    measured: MeasuredTimes,
    /// Live requests that have a deadline.
    deadlines: usize,
    preemptions: u64,
    recomputed_tokens: u64,
    admissions: u64,
    prefix_queries: u64,
    prefix_hits: u64,
}

impl Scheduler {
    /// A scheduler without requests.
    ///
    /// # Errors
    /// A limit is zero, too large, or contradicts another.
    pub fn new(config: SchedulerConfig, policy: Policy) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            policy,
            gate: Gate::new(policy.admission, config),
            pool: BlockPool::new(config.num_blocks),
            live: OrdinalMap::default(),
            running: Vec::new(),
            arrived: Vec::new(),
            waiting: WaitingQueue::new(policy.order.turn()),
            history: LengthHistory::default(),
            measured: MeasuredTimes::default(),
            deadlines: 0,
            preemptions: 0,
            recomputed_tokens: 0,
            admissions: 0,
            prefix_queries: 0,
            prefix_hits: 0,
        })
    }

    /// Adds a waiting request.
    ///
    /// # Errors
    /// The key is in use, there is nothing to compute or to generate, or it does not fit even alone.
    pub fn add(&mut self, request: Request) -> Result<(), AddError> {
        if self.live.contains_key(&request.key) {
            return Err(AddError::DuplicateKey(request.key));
        }
        request.check(self.config.kv_tokens())?;
        self.deadlines += usize::from(request.deadline.is_some());
        self.live.insert(request.key, LiveRequest::new(request));
        self.arrived.push(request.key);
        Ok(())
    }

    /// Tells the hashes of further full blocks of a request's known tokens: they follow those in
    /// [`block_hashes`](Self::block_hashes). To be called when it is added and when tokens were appended; a request
    /// without hashes shares nothing. Hashes beyond the known tokens, and of requests that are not live, are passed
    /// over.
    pub fn extend_hashes(&mut self, key: RequestKey, further: impl IntoIterator<Item = BlockHash>) {
        if let Some(LiveRequest { view, hashes, .. }) = self.live.get_mut(&key) {
            let full_blocks = (view.known() / self.config.block_size) as usize;
            hashes.extend(further.into_iter().take(full_blocks - hashes.len()));
        }
    }

    /// The hashes of a request's first full blocks, as far as they were told.
    pub fn block_hashes(&self, key: RequestKey) -> &[BlockHash] {
        self.live.get(&key).map_or(&[], |live| &live.hashes)
    }

    /// Ends a request, waiting or running, and frees its blocks. Answers whether it was live.
    pub fn abort(&mut self, key: RequestKey) -> bool {
        self.running.retain(|&running| running != key);
        self.end(key)
    }

    /// Plans the step that starts at `now`, seconds on the caller's clock. Calls alternate with [`apply`](Self::apply).
    ///
    /// `forecast` answers what remains after the tokens generated so far. Where it answers none, requests that ended
    /// stand for it, those that were longer; where too few have ended, the worst case, a run to `max_tokens`. It is
    /// asked only where the policy or a deadline needs it, a few times at most for one request, and must answer the
    /// same within a call.
    pub fn schedule(&mut self, now: f64, forecast: &mut ForecastFn<'_>) -> StepPlan {
        self.measured.step(now);
        let moment = self.moment(now);
        let mut plan = StepPlan::default();
        let budget = self.serve_running(&moment, &mut plan, forecast);
        let preempted = !plan.preempted.is_empty();
        self.gate.stepped(self.running.iter().map(|key| self.live[key].view), preempted);
        if !preempted {
            self.admit(&moment, budget, &mut plan, forecast);
        }
        if !plan.work.is_empty() {
            self.measured.begin(now);
        }
        plan
    }

    fn moment(&self, now: f64) -> Moment {
        Moment {
            now,
            step_seconds: self.measured.step_seconds(),
            mean_wait: self.measured.mean_wait(),
            waiting: self.live.len() - self.running.len(),
            running: self.running.len(),
            kv_tokens: self.config.kv_tokens() as f64,
            max_running: f64::from(self.config.max_running),
        }
    }

    /// Takes what became of the last plan. Requests that ended meanwhile or had no work are passed over.
    pub fn apply(&mut self, outcome: &StepOutcome) {
        let mut some_ended = false;
        for done in &outcome.work {
            let Some(live) = self.live.get_mut(&done.key) else {
                continue;
            };
            let LiveRequest { view, table, hashes, planned, computed_before, .. } = live;
            if *planned == 0 {
                continue;
            }
            view.generated = view.generated.saturating_add(done.appended).min(view.request.max_tokens);
            // The token sampled last is not computed yet.
            let first_filled = (view.computed / self.config.block_size) as usize;
            view.computed = (view.computed + std::mem::take(planned)).min(view.known() - 1);
            *computed_before = view.computed.max(*computed_before);
            let filled = (view.computed / self.config.block_size) as usize;
            for (index, &hash) in hashes.iter().enumerate().take(filled).skip(first_filled) {
                self.pool.publish(table, index, hash);
            }
            if done.finished || view.generated == view.request.max_tokens {
                let length = view.generated;
                self.gate.ended(length);
                self.history.push(length);
                some_ended |= self.end(done.key);
            }
        }
        if some_ended {
            self.running.retain(|key| self.live.contains_key(key));
        }
    }

    /// The KV blocks of a request, in the order of its positions; none if it is not live.
    pub fn block_table(&self, key: RequestKey) -> &[u32] {
        self.live.get(&key).map_or(&[], |live| live.table.ids())
    }

    /// A live request.
    pub fn view(&self, key: RequestKey) -> Option<RequestView> {
        self.live.get(&key).map(|live| live.view)
    }

    /// Counts of now and since the start.
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len(),
            waiting: self.live.len() - self.running.len(),
            blocks_used: self.pool.total() - self.pool.free(),
            blocks_total: self.pool.total(),
            preemptions_total: self.preemptions,
            recomputed_tokens_total: self.recomputed_tokens,
            admitted_total: self.admissions,
            prefix_queries_total: self.prefix_queries,
            prefix_hits_total: self.prefix_hits,
        }
    }

    /// What the live requests will need, by `forecast`, which is as in [`schedule`](Self::schedule). Costs O(running) and
    /// as much for up to 1024 waiting ones.
    pub fn forecast_load(&self, forecast: &mut ForecastFn<'_>) -> ForecastLoad {
        self.forecast_load_with(0, 0, forecast)
    }

    /// The same with `unseen` further requests, of `unseen_tokens` known tokens together, that wait behind those that were
    /// added.
    pub fn forecast_load_with(&self, unseen: usize, unseen_tokens: u64, forecast: &mut ForecastFn<'_>) -> ForecastLoad {
        let mut outlook = |key| {
            let view = self.live_request(key).view;
            Outlook::new(view, forecast(&view).or_else(|| self.history.forecast(&view)))
        };
        let running: Vec<Outlook> = self.running.iter().map(|&key| outlook(key)).collect();
        let mut used = ForecastUse::of_running(self.config, &running, &tables(&self.running, &self.live, &self.pool));
        // Keys of requests that were aborted may be among those that arrived.
        let arrived = self.arrived.iter().copied().filter(|key| self.live.contains_key(key));
        let mut waiting = self.waiting.by_rank().chain(arrived);
        waiting.by_ref().take(WAITING_IN_LOAD).for_each(|key| used.add_waiting(&outlook(key)));
        let (mut rest, mut known_tokens) = (unseen, unseen_tokens);
        for key in waiting {
            rest += 1;
            known_tokens += u64::from(self.live_request(key).view.known());
        }
        used.add_rest(rest, known_tokens);
        used.load()
    }

    /// Plans the running batch; answers what is left of the step's tokens.
    fn serve_running(&mut self, moment: &Moment, plan: &mut StepPlan, forecast: &mut ForecastFn<'_>) -> u32 {
        let mut budget = self.config.max_batched_tokens;
        self.make_room_for_decodes(moment, plan, forecast);
        for i in 0..self.running.len() {
            if self.live_request(self.running[i]).view.decodes() {
                budget -= self.plan_work(self.running[i], budget, plan);
            }
        }
        loop {
            for i in 0..self.running.len() {
                if !self.live_request(self.running[i]).view.decodes() {
                    budget -= self.plan_work(self.running[i], budget, plan);
                }
            }
            // Prefills that wait for each other's blocks would do so for ever.
            if !plan.work.is_empty() || !self.preempt_one(moment, plan, forecast) {
                return budget;
            }
        }
    }

    /// Preempts until every running decode can have the block its token needs, and then until those left have room for
    /// the steps that the victim rule asks for. The last one running always has.
    fn make_room_for_decodes(&mut self, moment: &Moment, plan: &mut StepPlan, forecast: &mut ForecastFn<'_>) {
        let mut steps = 1;
        while self.blocks_needed(steps) > self.pool.free() {
            if !self.preempt_one(moment, plan, forecast) {
                break;
            }
            steps = self.policy.victim.steps_of_room();
        }
    }

    /// Blocks the running decodes lack for so many steps.
    fn blocks_needed(&self, steps: u32) -> u32 {
        let needed = self.running.iter().map(|&key| {
            let LiveRequest { view, table, .. } = self.live_request(key);
            let end = view.known() + steps.min(view.max_remaining()) - 1;
            if view.decodes() { self.config.blocks_for(end).saturating_sub(table.len()) } else { 0 }
        });
        needed.sum()
    }

    /// Preempts whom the victim rule picks; answers whether there was one.
    fn preempt_one(&mut self, moment: &Moment, plan: &mut StepPlan, forecast: &mut ForecastFn<'_>) -> bool {
        let running = self.running_outlooks(self.policy.victim.uses_forecast(), forecast);
        let Some(victim) = self.policy.victim.choose(&running, moment) else {
            return false;
        };
        let key = self.running.remove(victim);
        if let Some(live) = self.live.get_mut(&key) {
            self.pool.release(live.preempt(moment.now));
        }
        self.preemptions += 1;
        plan.preempted.push(key);
        let rank = self.rank(key, moment, forecast);
        self.waiting.insert(rank);
        true
    }

    fn admit(&mut self, moment: &Moment, mut budget: u32, plan: &mut StepPlan, forecast: &mut ForecastFn<'_>) {
        let max_running = self.config.max_running as usize;
        if self.running.len() >= max_running || self.running.len() == self.live.len() || budget == 0 {
            return;
        }
        self.rank_waiting(moment, forecast);
        let running = self.running_outlooks(self.gate.uses_forecast(), forecast);
        self.gate.reset(&running, &tables(&self.running, &self.live, &self.pool));
        while self.running.len() < max_running && budget > 0 {
            let Some(key) = self.waiting.first() else {
                break;
            };
            let mut outlook = self.outlook(key, self.gate.uses_forecast(), forecast);
            let cached = self.pool.cached_prefix(self.live_request(key).reusable(self.config.block_size));
            outlook.view.computed = cached.blocks * self.config.block_size;
            let end = outlook.view.computed + outlook.view.pending().min(budget);
            // Blocks that are held already cost nothing.
            let step_blocks = self.config.blocks_for(end) - (cached.blocks - cached.idle);
            if !self.running.is_empty() && !self.gate.fits(&outlook, step_blocks, self.pool.free()) {
                break;
            }
            self.gate.add(&outlook);
            self.waiting.admit(key);
            self.start(key, moment.now);
            plan.admitted.push(key);
            budget -= self.plan_work(key, budget, plan);
        }
    }

    /// Puts a request at the end of the running batch, with what the cache has of it.
    fn start(&mut self, key: RequestKey, now: f64) {
        let Some(live) = self.live.get_mut(&key) else {
            return;
        };
        let block_size = self.config.block_size;
        let reusable = live.reusable(block_size);
        let found = self.pool.reuse(reusable);
        self.prefix_queries += reusable.len() as u64 * u64::from(block_size);
        self.prefix_hits += u64::from(found.len()) * u64::from(block_size);
        self.admissions += 1;
        self.running.push(key);
        if live.view.first_admitted.is_none() {
            live.view.first_admitted = Some(now);
            self.measured.waited(now - live.view.request.arrival);
        }
        live.admitted_at = now;
        live.view.computed = found.len() * block_size;
        live.table = found;
    }

    /// Ranks what arrived, and brings up to date the ranks whose turn it is.
    fn rank_waiting(&mut self, moment: &Moment, forecast: &mut ForecastFn<'_>) {
        for key in std::mem::take(&mut self.arrived) {
            if self.live.contains_key(&key) {
                let rank = self.rank(key, moment, forecast);
                self.waiting.insert(rank);
            }
        }
        if self.policy.order.moves() || self.deadlines > 0 {
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.refresh(REFRESHED_PER_STEP, |key| self.rank(key, moment, forecast));
            self.waiting = waiting;
        }
    }

    fn rank(&mut self, key: RequestKey, moment: &Moment, forecast: &mut ForecastFn<'_>) -> Rank {
        let order = self.policy.order;
        let keeps = order.keeps_forecast();
        let kept = self.live_request(key).kept_outlook(keeps);
        let outlook = kept.unwrap_or_else(|| self.outlook(key, order.uses_forecast(), forecast));
        if kept.is_none()
            && keeps > 0
            && let Some(live) = self.live.get_mut(&key)
        {
            live.kept = forecast(&live.view).map(|forecast| (live.view.generated, forecast));
        }
        let RequestView { request, preemptions, .. } = outlook.view;
        Rank {
            priority: request.priority,
            preempted: preemptions > 0,
            deadline: pressing(&outlook, moment).unwrap_or(f64::INFINITY),
            score: order.score(&outlook, moment),
            arrival: request.arrival,
            key,
        }
    }

    fn running_outlooks(&self, uses_forecast: bool, forecast: &mut ForecastFn<'_>) -> Vec<Outlook> {
        self.running.iter().map(|&key| self.outlook(key, uses_forecast, forecast)).collect()
    }

    fn outlook(&self, key: RequestKey, uses_forecast: bool, forecast: &mut ForecastFn<'_>) -> Outlook {
        let view = self.live_request(key).view;
        if !uses_forecast && view.request.deadline.is_none() {
            return Outlook::new(view, None);
        }
        Outlook::new(view, forecast(&view).or_else(|| self.history.forecast(&view)))
    }

    /// Plans as many pending tokens of a request as `budget` and the free blocks allow; answers how many.
    fn plan_work(&mut self, key: RequestKey, budget: u32, plan: &mut StepPlan) -> u32 {
        let Some(LiveRequest { view, table, planned, computed_before, .. }) = self.live.get_mut(&key) else {
            return 0;
        };
        let room = (table.len() + self.pool.free()) * self.config.block_size - view.computed;
        let tokens = view.pending().min(budget).min(room);
        let end = view.computed + tokens;
        if tokens == 0 || !self.pool.grow(table, self.config.blocks_for(end)) {
            return 0;
        }
        *planned = tokens;
        self.recomputed_tokens += u64::from(end.min(*computed_before).saturating_sub(view.computed));
        plan.work.push(Work { key, start: view.computed, tokens, samples: end == view.known() });
        tokens
    }

    /// Forgets a request and frees its blocks; `running` is the caller's to correct.
    fn end(&mut self, key: RequestKey) -> bool {
        let Some(live) = self.live.remove(&key) else {
            return false;
        };
        self.deadlines -= usize::from(live.view.request.deadline.is_some());
        self.waiting.remove(key);
        self.pool.release(live.table);
        true
    }

    fn live_request(&self, key: RequestKey) -> &LiveRequest {
        // Running and waiting keys are live: `abort` and `apply` take a key out of all three at once.
        &self.live[&key]
    }
}

/// The block tables of the running batch, in running order; empty where no block is shared, as then none need be looked at.
fn tables<'a>(running: &[RequestKey], live: &'a OrdinalMap<LiveRequest>, pool: &BlockPool) -> Vec<&'a [u32]> {
    let tables = running.iter().map(|key| live[key].table.ids());
    let blocks_held = pool.total() - pool.free();
    let shares = tables.clone().map(<[u32]>::len).sum::<usize>() > blocks_held as usize;
    tables.map(|table| if shares { table } else { &[] }).collect()
}
