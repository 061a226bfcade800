//! [`Reservoir`]: one value of each age of a reply, drawn at random among all steps of that age, so that all steps count alike.

use eoscast_log::record::Pits;

use crate::age::age;

/// A value that was drawn.
#[derive(Debug, Clone)]
pub struct Drawn<T> {
    /// Tokens generated when it was made.
    pub step: u32,
    /// Steps of its age so far.
    pub steps: u32,
    /// The value.
    pub value: T,
}

/// One value of each age.
#[derive(Debug, Clone)]
pub struct Reservoir<T> {
    ages: [Option<Drawn<T>>; Pits::AGES],
}

impl<T> Default for Reservoir<T> {
    fn default() -> Self {
        Self { ages: [const { None }; Pits::AGES] }
    }
}

impl<T> Reservoir<T> {
    /// Considers the value after `step` tokens, the n-th of its age. It takes the place of the one kept with probability 1/n
    /// (reservoir sampling), and is asked for only then. `chance` is any number that differs from step to step.
    pub fn consider(&mut self, step: u32, chance: u32, value: impl FnOnce() -> T) {
        let place = &mut self.ages[age(step)];
        let steps = place.as_ref().map_or(1, |drawn| drawn.steps.saturating_add(1));
        if is_drawn(step, chance, steps) {
            *place = Some(Drawn { step, steps, value: value() });
        } else if let Some(drawn) = place {
            drawn.steps = steps;
        }
    }

    /// What was drawn of each age.
    pub fn ages(&self) -> &[Option<Drawn<T>>; Pits::AGES] {
        &self.ages
    }
}

fn is_drawn(step: u32, chance: u32, n: u32) -> bool {
    mix(chance ^ step).is_multiple_of(n)
}

/// Spreads a number over all bits (the finaliser of MurmurHash3).
fn mix(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
    x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_an_age_is_kept_equally_often() {
        let mut times = [0u32; 16];
        for request in 0..4_000u32 {
            let mut kept = Reservoir::default();
            (0..20).for_each(|step| kept.consider(step, request.wrapping_mul(0x9E37_79B1), || step));
            let [first, second, ..] = kept.ages().each_ref().map(|drawn| drawn.as_ref().map(|drawn| drawn.steps));
            assert_eq!((first, second), (Some(16), Some(4)));
            times[kept.ages()[0].as_ref().map_or(0, |drawn| drawn.value as usize)] += 1;
        }
        assert!(times.iter().all(|n| (180..330).contains(n)), "{times:?}");
    }
}
