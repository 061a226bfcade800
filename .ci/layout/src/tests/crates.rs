use std::collections::BTreeSet;

use crate::arrows::faults;

fn faults_of(name: &str, depends_on: &[&str]) -> Vec<String> {
    let depends_on: BTreeSet<String> = depends_on.iter().map(|&other| other.to_owned()).collect();
    faults([(name, &depends_on)])
}

#[test]
fn an_arrow_of_the_table_is_allowed() {
    assert!(faults_of("eoscast-predictor", &["eoscast-forecast", "eoscast-log"]).is_empty());
    assert!(faults_of("eoscast-tests", &["eoscast-predictor", "eoscast-worker"]).is_empty());
}

#[test]
fn an_arrow_that_the_table_lacks_is_named() {
    assert_eq!(
        faults_of("eoscast-sched", &["eoscast-sim"]),
        ["eoscast-sched -> eoscast-sim: not allowed by .ci/layout/src/arrows.rs"]
    );
}

#[test]
fn a_crate_that_the_table_lacks_is_named() {
    assert_eq!(faults_of("eoscast-new", &[]), ["eoscast-new: not in .ci/layout/src/arrows.rs"]);
}
