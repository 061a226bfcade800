//! A named policy: `order+admission+victim`.

use std::fmt;
use std::str::FromStr;

use crate::admit::Admission;
use crate::order::Order;
use crate::policy_error::PolicyError;
use crate::victim::Victim;

/// The three decisions of the scheduler.
///
/// Parsed from `order`, `order+admission` or `order+admission+victim`, for example `srpt-pred+peak(0.9)+lifo`. An
/// admission rule that is left out is `aggressive`. A victim rule that is left out is `lifo`, unless the admission rule
/// comes with one: `fewest-generated` with `new-token-ratio`, as in SGLang. So `fcfs` is vLLM's policy. `srpt` is short
/// for `srpt-pred+peak+longest-remaining`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Which of the waiting requests is first.
    pub order: Order,
    /// Whether the first may run.
    pub admission: Admission,
    /// Which running request makes room when the KV blocks run out.
    pub victim: Victim,
}

impl Default for Policy {
    fn default() -> Self {
        Self { order: Order::BOOST, admission: Admission::PEAK, victim: Victim::LEAST_COST }
    }
}

impl Policy {
    /// Whether a rule is a bound that stands for true lengths: `srpt-oracle` or `oracle-peak`. The scheduler knows no
    /// true length: who runs such a policy answers forecasts with
    /// [`RemainingLength::certain`](crate::RemainingLength::certain).
    pub fn wants_truth(&self) -> bool {
        self.order.wants_truth() || self.admission.wants_truth()
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(policy: &str) -> Result<Self, PolicyError> {
        if policy == "srpt" {
            return "srpt-pred+peak+longest-remaining".parse();
        }
        let mut rules = policy.split('+').map(str::trim);
        let order = rules.next().unwrap_or_default().parse()?;
        let admission = rules.next().map_or(Ok(Admission::AGGRESSIVE), str::parse)?;
        let victim = rules.next().map_or(Ok(admission.usual_victim()), str::parse)?;
        match rules.next() {
            None => Ok(Self { order, admission, victim }),
            Some(rest) => Err(PolicyError::TooManyRules(rest.to_owned())),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.order, self.admission, self.victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(policy: &str) -> String {
        policy.parse::<Policy>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_is_vllms_rule() {
        let vllm = Policy { order: Order::FCFS, admission: Admission::AGGRESSIVE, victim: Victim::LIFO };
        for name in ["fcfs", "fcfs+aggressive", "fcfs+aggressive+lifo", " fcfs + aggressive "] {
            assert_eq!(name.parse(), Ok(vllm));
        }
    }

    #[test]
    fn the_default_is_ours_and_srpt_a_short_name() {
        assert_eq!("boost+peak+least-cost".parse(), Ok(Policy::default()));
        assert_eq!("srpt".parse::<Policy>(), "srpt-pred+peak+longest-remaining".parse());
    }

    #[test]
    fn a_name_survives_printing_and_parsing() {
        for name in [
            "fcfs+aggressive+lifo",
            "srpt-pred+peak(0.9)+longest-remaining",
            "srpt-pred(0.5)+conservative+lifo",
            "sjf-prompt+lightllm-static+least-computed",
            "sjf-prompt(0)+fixed-cap(7)+lifo",
            "sjf-pred+past-future(0.03)+lifo",
            "isrtf-50+past-future(0.1)+lifo",
            "ltr+risk(0.05)+least-cost",
            "ltr(50)+risk(0.2)+least-cost",
            "tie+new-token-ratio(1)+fewest-generated",
            "hrrn+new-token-ratio(0.5)+lifo",
            "mlfq+aggressive+lifo",
            "gittins+risk(0.05)+least-cost",
            "gittins(5)+risk(0.05)+least-cost",
            "boost+peak(0.85)+least-cost",
            "boost(0.3)+risk(0.05)+least-cost",
            "random+aggressive+lifo",
            "random(9)+aggressive+lifo",
            "srpt-oracle+oracle-peak+lifo",
            &Policy::default().to_string(),
        ] {
            let policy: Policy = name.parse().unwrap();
            assert_eq!(policy.to_string(), name);
        }
    }

    #[test]
    fn an_unknown_rule_is_named_with_the_known_ones() {
        assert!(error("fifo").starts_with("unknown order rule \"fifo\": use one of fcfs, sjf-prompt, "));
        assert!(error("fcfs+greedy").contains("use one of aggressive, conservative, new-token-ratio, "));
        assert!(error("fcfs+peak+").contains("use one of lifo, longest-remaining, "));
        assert!(error("fcfs+fixed-cap").contains("fixed-cap(N)"));
        assert!(error("").contains("unknown order rule \"\""));
        assert!(error("fcfs(3)").contains("unknown order rule"));
    }

    #[test]
    fn an_argument_out_of_range_is_refused() {
        for (policy, expected) in [
            ("fcfs+peak(1)", "a level from 0.01 to 0.99"),
            ("fcfs+peak(0)", "a level from 0.01 to 0.99"),
            ("fcfs+peak(nan)", "a level from 0.01 to 0.99"),
            ("fcfs+peak(much)", "a level from 0.01 to 0.99"),
            ("fcfs+peak()", "a level from 0.01 to 0.99"),
            ("fcfs+risk(0)", "a probability between 0 and 1"),
            ("fcfs+past-future(1)", "a part from 0 to less than 1"),
            ("fcfs+fixed-cap(0)", "a whole number from 1 to 1000000"),
            ("fcfs+fixed-cap(2.5)", "a whole number from 1 to 1000000"),
            ("fcfs+new-token-ratio(0)", "a finite factor above 0"),
            ("srpt-pred(-1)", "a finite rate of at least 0"),
            ("srpt-pred(inf)", "a finite rate of at least 0"),
            ("gittins(0)", "a whole number from 1 to 1000000"),
            ("ltr(0.5)", "a whole number from 1 to 1000000"),
            ("boost(0)", "a finite scale above 0"),
            ("random(-1)", "a whole number from 0 to 1000000"),
            ("fcfs+peak+lifo+lifo", "unexpected \"lifo\""),
        ] {
            assert!(error(policy).contains(expected), "{policy}");
        }
    }

    #[test]
    fn sglangs_admission_brings_its_victim() {
        assert_eq!("fcfs+new-token-ratio".parse::<Policy>().unwrap().victim, Victim::FEWEST_GENERATED);
    }

    #[test]
    fn an_oracle_wants_the_truth() {
        let wants_truth = |name: &str| name.parse::<Policy>().unwrap().wants_truth();
        assert!(wants_truth("srpt-oracle") && wants_truth("fcfs+oracle-peak"));
        assert!(!wants_truth("srpt-pred+peak"));
    }
}
