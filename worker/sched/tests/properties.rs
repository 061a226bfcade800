//! What holds for every policy, whatever arrives and whatever is forecast. Each run checks in every step that the KV
//! and token budgets hold, that no block leaks or is owned twice, and that every decode progresses.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;

use eoscast_sched::{Admission, Order, Victim};
use harness::{ForecastKind, STEP_SECONDS, any_forecaster, scenario};
use proptest::prelude::*;
use proptest::sample::{Select, select};

/// Rules with arguments other than the defaults, beside all that the tables hold.
const MORE_ORDERS: [&str; 5] = ["sjf-prompt(0)", "srpt-pred(50)", "ltr(5)", "gittins(4)", "boost(5)"];
const MORE_ADMISSIONS: [&str; 6] =
    ["new-token-ratio(0.2)", "past-future(0.3)", "fixed-cap(2)", "peak(0.1)", "peak(0.99)", "risk(0.9)"];

fn any_order() -> impl Strategy<Value = String> {
    any_rule(Order::all(), &MORE_ORDERS)
}

fn any_admission() -> impl Strategy<Value = String> {
    any_rule(Admission::all(), &MORE_ADMISSIONS)
}

fn any_rule<R: ToString>(all: impl Iterator<Item = R>, more: &[&str]) -> Select<String> {
    let more = more.iter().map(ToString::to_string);
    select(all.map(|rule| rule.to_string()).chain(more).collect::<Vec<_>>())
}

fn any_policy() -> impl Strategy<Value = String> {
    let rules = (any_order(), any_admission(), any_rule(Victim::all(), &[]));
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
        order in any_order(),
    ) {
        let report = scenario.run(&format!("{order}+conservative+longest-remaining"));
        prop_assert_eq!(report.stats.preemptions_total, 0);
    }

    #[test]
    fn peak_admission_with_true_lengths_never_preempts(
        scenario in scenario(Just(ForecastKind::Truth)),
        order in any_order(),
        level in select(vec![0.01, 0.5, 0.8, 0.99]),
    ) {
        let report = scenario.run(&format!("{order}+peak({level})+lifo"));
        prop_assert_eq!(report.stats.preemptions_total, 0);
    }

    #[test]
    fn nobody_overtakes_a_request_that_waited_long_enough(scenario in scenario(any_forecaster()), rate in 1u32..20) {
        let scenario = scenario.without_deadlines();
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

    /// While a request waits, the k-th admission after that of the oldest goes to the oldest again, which is older, or
    /// itself. So for each older one, and itself, at most k - 1 younger ones start before it.
    #[test]
    fn a_turn_of_k_bounds_the_wait_to_k_times_the_place_by_arrival(
        scenario in scenario(any_forecaster()),
        turn in 1u32..6,
        admission in any_admission(),
    ) {
        let report = scenario.run(&format!("gittins({turn})+{admission}+least-cost"));
        let job = |key: u64| scenario.jobs[key as usize];
        let admissions: Vec<_> = (0..)
            .zip(&report.plans)
            .flat_map(|(step, plan)| plan.admitted.iter().map(move |&key| (step, key)))
            .filter(|&(_, key)| job(key).priority == 0)
            .collect();
        let first = |key| admissions.iter().position(|&(_, admitted)| admitted == key);
        for &waiting in report.first_admissions.iter().filter(|&&key| job(key).priority == 0) {
            let age = |key: u64| (job(key).arrival_step, key);
            let until = first(waiting).unwrap();
            let since = admissions.iter().take_while(|&&(step, _)| step < job(waiting).arrival_step).count();
            let before = || (since..until).map(|place| (place, admissions[place].1));
            let older = before().filter(|&(_, key)| age(key) < age(waiting)).count();
            let overtook = before().filter(|&(place, key)| age(key) > age(waiting) && first(key) == Some(place)).count();
            prop_assert!(overtook <= (turn as usize - 1) * (older + 1), "{} overtook {}", overtook, waiting);
        }
    }

    #[test]
    fn certain_forecasts_make_risk_an_oracle(
        scenario in scenario(Just(ForecastKind::Truth)),
        order in any_order(),
        eps in select(vec![0.01, 0.5, 0.9]),
    ) {
        let plans = |admission: &str| scenario.run(&format!("{order}+{admission}+lifo")).plans;
        prop_assert_eq!(plans(&format!("risk({eps})")), plans("oracle-peak"));
    }
}
