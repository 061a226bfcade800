//! How many requests in a step are simulated in a second: the throughput is that of request-steps.

#![expect(clippy::expect_used, reason = "a benchmark of a known workload")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eoscast_sched::SchedulerConfig;
use eoscast_sim::{
    Arrivals, CostModel, Demand, ForecastSource, Random, SimulatedEngine, TraceRequest, Workload, simulate,
};

fn trace() -> Vec<TraceRequest> {
    let mut random = Random::new(1, 0);
    let request = |row| TraceRequest {
        row,
        arrival: None,
        prompt_tokens: random.between(16, 512),
        output_tokens: ((5.3 + random.normal()).exp() as u32).clamp(1, 1024),
        max_tokens: 1024,
    };
    (0..600).map(request).collect()
}

fn request_steps(criterion: &mut Criterion) {
    let config = SchedulerConfig { block_size: 16, num_blocks: 1024, max_running: 64, max_batched_tokens: 256 };
    let cost = CostModel::WORKER;
    let trace = trace();
    let rate = Demand::of(&trace, config, &cost).rate(0.9);
    let workload = Workload::draw(&trace, trace.len(), Arrivals::Poisson { rate }, 1).expect("poisson needs no record");
    let mut group = criterion.benchmark_group("simulate");
    group.sample_size(10);
    for (name, predictor) in [
        ("fcfs", ForecastSource::None),
        ("fcfs+conservative", ForecastSource::None),
        ("fcfs+peak(0.6)", ForecastSource::Prior),
        ("srpt", ForecastSource::OracleNoise { cv: 0.5, drifting: false }),
    ] {
        let engine =
            SimulatedEngine { config, policy: name.parse().expect("a known policy"), cost, prefix_cache: true };
        let run = || simulate(&engine, &workload, &predictor, 1, |_| ()).expect("a workload that fits");
        group.throughput(Throughput::Elements(run().request_steps));
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    group.finish();
}

criterion_group!(benches, request_steps);
criterion_main!(benches);
