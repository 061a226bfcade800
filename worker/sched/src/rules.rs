//! The macro in which each decision lists its rules.

/// Declares a module for each rule and the table of their `RULE`s, in this order: `rules! { OrderRule: mod fcfs; }`.
macro_rules! rules {
    ($rule:ty: $(mod $name:ident;)+) => {
        $(mod $name;)+

        /// All rules, in the order in which errors list them.
        const RULES: &[&$rule] = &[$(&$name::RULE),+];
    };
}

pub(crate) use rules;
