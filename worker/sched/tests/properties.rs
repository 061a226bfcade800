//! What holds for every policy, whatever arrives and whatever is forecast. Each run checks in every step that the KV
//! and token budgets hold, that no block leaks or is owned twice, and that every decode progresses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;

use harness::{Forecaster, STEP_SECONDS, any_forecaster, scenario};
use proptest::prelude::*;

const ORDERS: [&str; 18] = [
    "fcfs",
    "sjf-prompt",
    "sjf-prompt(0)",
    "sjf-pred",
    "srpt-pred",
    "srpt-pred(50)",
    "isrtf-50",
    "ltr",
    "ltr(5)",
    "tie",
    "hrrn",
    "mlfq",
    "gittins",
    "gittins(4)",
    "boost",
    "boost(5)",
    "random",
    "srpt-oracle",
];

const ADMISSIONS: [&str; 14] = [
    "aggressive",
    "conservative",
    "new-token-ratio",
    "new-token-ratio(0.2)",
    "lightllm-static",
    "past-future",
    "past-future(0.3)",
    "fixed-cap(2)",
    "peak(0.1)",
    "peak",
    "peak(0.99)",
    "risk",
    "risk(0.9)",
    "oracle-peak",
];

const VICTIMS: [&str; 5] = ["lifo", "longest-remaining", "least-computed", "fewest-generated", "least-cost"];

fn any_policy() -> impl Strategy<Value = String> {
    let rules = (prop::sample::select(&ORDERS), prop::sample::select(&ADMISSIONS), prop::sample::select(&VICTIMS));
    rules.prop_map(|(order, admission, victim)| format!("{order}+{admission}+{victim}"))
}

proptest! {
    #[test]
    fn every_request_finishes_within_the_budgets(scenario in scenario(any_forecaster()), policy in any_policy()) {
        scenario.run(&policy);
    }

    #[test]
    fn the_same_calls_give_the_same_plans(scenario in scenario(any_forecaster()), policy in any_policy()) {
        prop_assert_eq!(scenario.run(&policy), scenario.run(&policy));
    }

    #[test]
    fn conservative_admission_never_preempts(
        scenario in scenario(any_forecaster()),
        order in prop::sample::select(&ORDERS),
    ) {
        let report = scenario.run(&format!("{order}+conservative+longest-remaining"));
        prop_assert_eq!(report.stats.preemptions_total, 0);
    }

    #[test]
    fn peak_admission_with_true_lengths_never_preempts(
        scenario in scenario(Just(Forecaster::Truth)),
        order in prop::sample::select(&ORDERS),
        level in prop::sample::select(vec![0.01, 0.5, 0.8, 0.99]),
    ) {
        let report = scenario.run(&format!("{order}+peak({level})+lifo"));
        prop_assert_eq!(report.stats.preemptions_total, 0);
    }

    #[test]
    fn nobody_overtakes_a_request_that_waited_long_enough(scenario in scenario(any_forecaster()), rate in 1u32..20) {
        let report = scenario.run(&format!("srpt-pred({rate})+peak(0.9)+longest-remaining"));
        let place: BTreeMap<_, _> = report.first_admissions.iter().copied().zip(0..).collect();
        for (&early, early_place) in &place {
            for (&late, late_place) in &place {
                let (first, second) = (scenario.jobs[early as usize], scenario.jobs[late as usize]);
                let between = (f64::from(second.arrival_step) - f64::from(first.arrival_step)) * STEP_SECONDS;
                if first.priority <= second.priority && between > f64::from(first.max_tokens) / f64::from(rate) {
                    prop_assert!(early_place < late_place, "{} overtook {}", late, early);
                }
            }
        }
    }
}
