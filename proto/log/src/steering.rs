//! [`Steering`]: from which step on a worker's length control has bent a reply.
//!
//! Up to there the reply is a natural one, and that it went on is all that is known of its natural length: it counts as censored
//! at the step before. That keeps estimates unbiased, because when the control begins depends on the length so far and on
//! forecasts made from what is known by then, never on when the reply would have ended: independent censoring, as
//! Kaplan and Meier ask for (JASA 53, 1958, section 1.2).

/// Follows one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steering {
    /// Whether the request is under length control at all.
    controlled: bool,
    /// Tokens generated at the last step known.
    step: u32,
    from: Option<u32>,
}

impl Steering {
    /// Of a request that is under length control or not, with `output_length` tokens generated unseen.
    pub fn new(controlled: bool, output_length: u32) -> Self {
        Self { controlled, step: 0, from: None }.reaching(output_length)
    }

    /// Takes in a step whose EOS logits were raised by `eos_bias`.
    pub fn observe(&mut self, step: u32, eos_bias: f32) {
        *self = self.reaching(step.saturating_sub(1));
        if eos_bias > 0.0 {
            self.from.get_or_insert(step);
        }
        self.step = self.step.max(step);
    }

    /// After `output_length` tokens: steps that were not seen may have been steered, and count so.
    #[must_use]
    pub fn reaching(mut self, output_length: u32) -> Self {
        if self.controlled && output_length > self.step {
            self.from.get_or_insert(self.step + 1);
        }
        self.step = self.step.max(output_length);
        self
    }

    /// The first step that was steered, or may have been.
    pub fn from(&self) -> Option<u32> {
        self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(controlled: bool, steps: &[(u32, f32)]) -> Steering {
        let mut steering = Steering::new(controlled, 0);
        steps.iter().for_each(|(step, bias)| steering.observe(*step, *bias));
        steering
    }

    #[test]
    fn it_begins_at_the_first_step_whose_eos_was_raised() {
        assert_eq!(after(true, &[(1, 0.0), (2, 0.0), (3, 0.5), (4, 0.0)]).from(), Some(3));
        assert_eq!(after(true, &[(1, 0.0), (2, 0.0)]).from(), None);
    }

    #[test]
    fn a_step_that_was_not_seen_may_have_been_steered() {
        assert_eq!(after(true, &[(1, 0.0), (4, 0.0)]).from(), Some(2));
        assert_eq!(after(true, &[(1, 0.0)]).reaching(3).from(), Some(2));
        assert_eq!(Steering::new(true, 7).from(), Some(1));
    }

    #[test]
    fn without_length_control_gaps_mean_nothing() {
        assert_eq!(after(false, &[(1, 0.0), (4, 0.0)]).reaching(9).from(), None);
        assert_eq!(Steering::new(false, 7).from(), None);
    }
}
