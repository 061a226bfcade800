//! Which runs there are, and in which order: policies take turns within a round, so that what changes on the machine meets all alike.

use eoscast_sim::{ArrivalError, Arrivals, Demand, TraceRequest, Workload};

/// One run to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Planned {
    /// The load.
    pub(crate) rho: f64,
    /// Counted from 0.
    pub(crate) round: u32,
    /// Place in the list of policies.
    pub(crate) policy: usize,
}

/// All runs in their order: by load, then round; each round begins with another policy.
pub(crate) fn plan(rhos: &[f64], rounds: u32, policies: usize) -> Vec<Planned> {
    let mut planned = Vec::new();
    for rho in rhos {
        for round in 0..rounds {
            let first = round as usize * policies.div_ceil(rounds as usize);
            planned.extend((0..policies).map(|i| Planned { rho: *rho, round, policy: (first + i) % policies }));
        }
    }
    planned
}

/// Every request once, in an order and with Poisson arrivals that hang on seed and round alone, at the load `rho`.
///
/// # Errors
/// Never: arrivals are drawn.
pub(crate) fn workload(
    requests: &[TraceRequest],
    demand: &Demand,
    rho: f64,
    seed: u64,
    round: u32,
) -> Result<Workload, ArrivalError> {
    let seed = (seed << 16) + u64::from(round);
    Workload::draw(requests, requests.len(), Arrivals::Poisson { rate: demand.rate(rho) }, seed)
}

#[cfg(test)]
mod tests {
    use eoscast_sched::SchedulerConfig;
    use eoscast_sim::CostModel;

    use super::*;

    #[test]
    fn every_policy_runs_once_a_round_and_each_round_begins_with_another() {
        let planned = plan(&[0.5, 0.9], 3, 10);
        assert_eq!(planned.len(), 60);
        let round = |n: usize| planned[10 * n..10 * n + 10].iter().map(|run| run.policy).collect::<Vec<_>>();
        for n in 0..6 {
            let mut policies = round(n);
            policies.sort_unstable();
            assert_eq!(policies, (0..10).collect::<Vec<_>>());
        }
        assert_eq!([round(0)[0], round(1)[0], round(2)[0]], [0, 4, 8]);
        assert_eq!((planned[29].rho, planned[29].round, planned[30].rho), (0.5, 2, 0.9));
    }

    #[test]
    fn arrivals_hang_on_seed_and_round_and_keep_the_load() {
        let request = |row| TraceRequest { row, arrival: None, prompt_tokens: 30, output_tokens: 90, max_tokens: 99 };
        let requests: Vec<_> = (0..400).map(request).collect();
        let config = SchedulerConfig { block_size: 16, num_blocks: 64, max_running: 8, max_batched_tokens: 64 };
        let demand = Demand::of(&requests, config, &CostModel::WORKER);
        let drawn = |rho, seed, round| workload(&requests, &demand, rho, seed, round).unwrap();
        assert_eq!(drawn(0.9, 1, 0), drawn(0.9, 1, 0));
        assert_ne!(drawn(0.9, 1, 0).arrivals, drawn(0.9, 1, 1).arrivals);
        assert_ne!(drawn(0.9, 1, 0).arrivals, drawn(0.9, 2, 0).arrivals);
        assert!((demand.rho(drawn(0.9, 1, 0).rate()) / 0.9 - 1.0).abs() < 0.2);
        assert!(demand.rho(drawn(0.5, 1, 0).rate()) < 0.6);
    }
}
