//! What holds of every simulated run.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use eoscast_sched::SchedulerConfig;
use eoscast_sim::{
    Arrivals, CostModel, Demand, ForecastSource, RecordedEstimate, RecordedEstimates, SimulatedEngine, SimulatedRun,
    Summary, TraceRequest, Workload, simulate,
};
use proptest::prelude::*;

const COST: CostModel =
    CostModel { step: 8e-3, decode: 1e-3, decode_context: 1e-6, prefill_token: 1e-3, prefill_pair: 1e-7 };

fn engine(policy: &str, config: SchedulerConfig) -> SimulatedEngine {
    SimulatedEngine { config, policy: policy.parse().unwrap(), cost: COST, prefix_cache: true }
}

fn config() -> impl Strategy<Value = SchedulerConfig> {
    (1u32..=16, 120u32..=400, 1u32..=12, 0u32..=60).prop_map(|(block_size, kv_tokens, max_running, spare)| {
        SchedulerConfig {
            block_size,
            num_blocks: kv_tokens.div_ceil(block_size),
            max_running,
            max_batched_tokens: max_running + spare,
        }
    })
}

fn trace() -> impl Strategy<Value = Vec<TraceRequest>> {
    let request = (0.0f64..20.0, 1u32..=60, 1u32..=60, 0u32..=20);
    prop::collection::vec(request, 2..40).prop_map(|requests| {
        let request =
            |(row, (arrival, prompt_tokens, output_tokens, spare)): (usize, (f64, u32, u32, u32))| TraceRequest {
                row,
                arrival: Some(arrival),
                prompt_tokens,
                output_tokens,
                max_tokens: (output_tokens + spare).min(60),
            };
        requests.into_iter().enumerate().map(request).collect()
    })
}

fn arrivals() -> impl Strategy<Value = Arrivals> {
    prop_oneof![
        Just(Arrivals::Recorded),
        (0.1f64..50.0).prop_map(|rate| Arrivals::Scaled { rate }),
        (0.1f64..50.0).prop_map(|rate| Arrivals::Poisson { rate }),
    ]
}

fn policy() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "fcfs",
        "fcfs+conservative",
        "fcfs+peak(0.9)",
        "srpt",
        "srpt-pred+aggressive+longest-remaining",
    ])
}

fn predictor() -> impl Strategy<Value = ForecastSource> {
    let recorded = prop::collection::vec(prop::collection::vec((0u32..60, 0u32..80), 0..6), 0..40);
    let recorded = recorded.prop_map(|rows| {
        let estimate =
            |(step, tokens)| RecordedEstimate { step, forecast: eoscast_sched::RemainingLength::certain(tokens) };
        let rows = rows.into_iter().map(|row| row.into_iter().map(estimate).collect()).collect();
        ForecastSource::Recorded(std::sync::Arc::new(RecordedEstimates::new(rows)))
    });
    prop_oneof![
        prop::sample::select(vec!["none", "oracle", "prior", "oracle-noise:0.5", "oracle-noise:1:drifting"])
            .prop_map(|name| name.parse().unwrap()),
        recorded,
    ]
}

proptest! {
    #[test]
    fn every_request_ends_with_its_length_and_the_same_seed_gives_the_same_run(
        trace in trace(),
        arrivals in arrivals(),
        config in config(),
        policy in policy(),
        predictor in predictor(),
        prefix_cache in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let workload = Workload::draw(&trace, trace.len(), arrivals, seed).unwrap();
        let engine = SimulatedEngine { prefix_cache, ..engine(policy, config) };
        let mut ended = 0;
        let run = simulate(&engine, &workload, &predictor, seed, |count| ended += count).unwrap();
        prop_assert_eq!(&run, &simulate(&engine, &workload, &predictor, seed, |_| ()).unwrap());
        prop_assert_eq!(ended, trace.len() as u64);
        prop_assert!(workload.arrivals.is_sorted());
        for ((reply, request), arrival) in run.replies.iter().zip(&workload.requests).zip(&workload.arrivals) {
            prop_assert_eq!(reply.output_tokens, request.output_tokens);
            prop_assert_eq!(reply.arrival, *arrival);
            prop_assert!(*arrival < reply.first_token && reply.first_token <= reply.end, "{:?}", reply);
            // A token a step at most, and no step takes less than its base.
            prop_assert!(reply.latency() + 1e-9 >= f64::from(request.output_tokens) * COST.step, "{:?}", reply);
        }
        let tokens: u64 = trace.iter().map(|request| u64::from(request.output_tokens)).sum();
        let preemptions: u32 = run.replies.iter().map(|reply| reply.preemptions).sum();
        prop_assert!(run.request_steps >= tokens && run.steps <= run.request_steps);
        prop_assert!(preemptions > 0 || run.recomputed_tokens == 0);

        let summary = Summary::of(&run, &workload, &Demand::of(&workload.requests, config, &COST));
        let end = run.replies.iter().map(|reply| reply.end).fold(0.0, f64::max);
        let at_most = [summary.p50_latency, summary.p95_latency, summary.p99_latency, end];
        prop_assert!(at_most.is_sorted() && summary.mean_ttft <= summary.mean_latency, "{:?}", summary);
        prop_assert!(run.kv_use.busy_seconds() <= end + 1e-9 && summary.kv_utilisation <= 1.0);
        prop_assert!((summary.throughput * end - tokens as f64).abs() < 1e-6);
        prop_assert_eq!((summary.evictions_per_100 * trace.len() as f64 / 100.0).round(), f64::from(preemptions));
    }
}

/// 200 requests of 40 + 1 to 60 tokens, and room for a dozen of them.
fn crowded(arrivals: Arrivals) -> (SchedulerConfig, Workload) {
    let request = |row: usize| TraceRequest {
        row,
        arrival: None,
        prompt_tokens: 40,
        output_tokens: 1 + (row as u32 * 37) % 60,
        max_tokens: 60,
    };
    let trace: Vec<_> = (0..200).map(request).collect();
    let config = SchedulerConfig { block_size: 1, num_blocks: 800, max_running: 64, max_batched_tokens: 256 };
    (config, Workload::draw(&trace, 200, arrivals, 3).unwrap())
}

#[test]
fn alone_each_request_takes_its_prefill_and_its_decodes() {
    let (config, workload) = crowded(Arrivals::Poisson { rate: 0.01 });
    let run = simulate(&engine("fcfs", config), &workload, &ForecastSource::None, 0, |_| ()).unwrap();
    for (reply, request) in run.replies.iter().zip(&workload.requests) {
        let prefill = COST.step + 40.0 * COST.prefill_token + 820.0 * COST.prefill_pair;
        let decodes = f64::from(request.output_tokens - 1);
        let read = decodes * 40.0 + decodes * (decodes + 1.0) / 2.0;
        let expected = prefill + decodes * (COST.step + COST.decode) + read * COST.decode_context;
        assert!((reply.latency() - expected).abs() < 1e-9, "{reply:?}: {expected}");
    }
}

#[test]
fn a_policy_that_wants_the_truth_gets_it_whatever_the_predictor_says() {
    let (config, workload) = crowded(Arrivals::Poisson { rate: 1000.0 });
    let run =
        |predictor| simulate(&engine("srpt-oracle+oracle-peak", config), &workload, &predictor, 0, |_| ()).unwrap();
    assert_eq!(run(ForecastSource::None), run(ForecastSource::Oracle));
}

#[test]
fn with_true_lengths_the_future_peak_preempts_nobody_where_the_aggressive_rule_does() {
    let (config, workload) = crowded(Arrivals::Poisson { rate: 1000.0 });
    let run = |policy, predictor: ForecastSource| {
        simulate(&engine(policy, config), &workload, &predictor, 0, |_| ()).unwrap()
    };
    let demand = Demand::of(&workload.requests, config, &COST);
    let peak = Summary::of(&run("fcfs+peak(0.5)", ForecastSource::Oracle), &workload, &demand);
    let aggressive = Summary::of(&run("fcfs", ForecastSource::None), &workload, &demand);
    assert_eq!((peak.evictions_per_100, peak.recomputed_tokens), (0.0, 0));
    assert!(aggressive.evictions_per_100 > 0.0 && aggressive.recomputed_tokens > 0);
    assert!(peak.rho > 1.0 && peak.kv_pressure > 1.0 && peak.kv_utilisation > 0.8, "{peak:?}");
}

#[test]
fn with_a_prefix_cache_a_preempted_request_computes_again_only_what_others_took() {
    let (config, workload) = crowded(Arrivals::Poisson { rate: 1000.0 });
    let [with, without] = [true, false].map(|prefix_cache| {
        let engine = SimulatedEngine { prefix_cache, ..engine("fcfs", config) };
        simulate(&engine, &workload, &ForecastSource::None, 0, |_| ()).unwrap()
    });
    let recomputed = [with.recomputed_tokens, without.recomputed_tokens];
    assert!(0 < recomputed[0] && recomputed[0] < recomputed[1], "{recomputed:?}");
    let end = |run: &SimulatedRun| run.replies.iter().map(|reply| reply.end).fold(0.0, f64::max);
    assert!(end(&with) < end(&without));
}
