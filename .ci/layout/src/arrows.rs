//! Which crate may depend on which. `docs/architecture.md` draws it.

use std::collections::BTreeSet;

enum Allowed {
    Anything,
    Only(&'static [&'static str]),
}

use Allowed::{Anything, Only};

/// Arrows point down: each crate stands below those that it names.
const ALLOWED: &[(&str, Allowed)] = &[
    ("eoscast-proto", Only(&[])),
    // A log line is written from the domain types.
    ("eoscast-log", Only(&["eoscast-proto"])),
    // `health` asks a service.
    ("eoscast-cli", Only(&["eoscast-proto"])),
    // The counts of listeners are shown by both services.
    ("eoscast-metrics", Only(&["eoscast-proto"])),
    ("eoscast-kernels", Only(&[])),
    ("eoscast-model", Only(&["eoscast-kernels"])),
    ("eoscast-sched", Only(&[])),
    ("eoscast-sim", Only(&["eoscast-sched"])),
    (
        "eoscast-worker",
        // `collect` writes logs; `bench --fit-cost` writes the simulator's cost file.
        Only(&[
            "eoscast-kernels",
            "eoscast-model",
            "eoscast-sched",
            "eoscast-sim",
            "eoscast-proto",
            "eoscast-log",
            "eoscast-cli",
            "eoscast-metrics",
        ]),
    ),
    ("eoscast-forecast", Only(&["eoscast-proto", "eoscast-log"])),
    (
        "eoscast-predictor",
        Only(&["eoscast-forecast", "eoscast-proto", "eoscast-log", "eoscast-cli", "eoscast-metrics"]),
    ),
    // The worker and the predictor as child processes.
    ("eoscast-pair", Only(&["eoscast-proto"])),
    (
        "eoscast-lab",
        Only(&[
            "eoscast-forecast",
            "eoscast-sim",
            "eoscast-sched",
            "eoscast-pair",
            "eoscast-proto",
            "eoscast-log",
            "eoscast-cli",
        ]),
    ),
    ("eoscast-tests", Anything),
    ("eoscast-layout", Only(&[])),
];

/// One line for each arrow that the table does not allow and each crate that it lacks, for crates with what they
/// depend on.
pub(crate) fn faults<'a>(crates: impl IntoIterator<Item = (&'a str, &'a BTreeSet<String>)>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, depends_on) in crates {
        match ALLOWED.iter().find(|(known, _)| *known == name) {
            None => faults.push(format!("{name}: not in .ci/layout/src/arrows.rs")),
            Some((_, Anything)) => {}
            Some((_, Only(allowed))) => {
                for other in depends_on.iter().filter(|other| !allowed.contains(&other.as_str())) {
                    faults.push(format!("{name} -> {other}: not allowed by .ci/layout/src/arrows.rs"));
                }
            }
        }
    }
    faults
}
