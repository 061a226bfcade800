//! The one admitted last: it lost least, and those before it finish.

use super::rule::VictimRule;

pub(super) static RULE: VictimRule = VictimRule::new("lifo", |_, eligible| choose(eligible.iter().copied()));

fn choose(eligible: impl Iterator<Item = usize>) -> Option<usize> {
    eligible.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_admitted_goes() {
        assert_eq!(choose([2, 4, 3].into_iter()), Some(4));
    }
}
