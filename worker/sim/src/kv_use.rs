//! KV use over time, at a bounded number of moments.

/// Moments kept at least, once there were as many steps; at most twice as many.
const MOMENTS: usize = 1024;

/// Share of the KV budget in use during a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KvUse {
    /// Seconds and the share in use in the step that began then: every n-th step.
    pub moments: Vec<(f64, f64)>,
    stride: u64,
    steps: u64,
    seconds: f64,
    share_seconds: f64,
}

impl KvUse {
    pub(super) fn push(&mut self, now: f64, seconds: f64, share: f64) {
        self.seconds += seconds;
        self.share_seconds += share * seconds;
        self.stride = self.stride.max(1);
        if self.steps.is_multiple_of(self.stride) {
            self.moments.push((now, share));
            if self.moments.len() >= 2 * MOMENTS {
                let mut odd = true;
                self.moments.retain(|_| {
                    odd = !odd;
                    !odd
                });
                self.stride *= 2;
            }
        }
        self.steps += 1;
    }

    /// Mean share over the time of all steps.
    pub fn mean(&self) -> f64 {
        if self.seconds > 0.0 { self.share_seconds / self.seconds } else { 0.0 }
    }

    /// Seconds spent in steps.
    pub fn busy_seconds(&self) -> f64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_weighs_steps_by_their_time() {
        let mut kv_use = KvUse::default();
        kv_use.push(0.0, 1.0, 0.2);
        kv_use.push(5.0, 3.0, 0.6);
        assert!((kv_use.mean() - 0.5).abs() < 1e-12);
        assert_eq!(kv_use.busy_seconds(), 4.0);
    }

    #[test]
    fn moments_thin_out_evenly_as_a_run_grows() {
        let mut kv_use = KvUse::default();
        (0..50_000).for_each(|step| kv_use.push(f64::from(step), 1.0, 0.0));
        let times: Vec<f64> = kv_use.moments.iter().map(|(at, _)| *at).collect();
        assert!((MOMENTS..2 * MOMENTS).contains(&times.len()), "{}", times.len());
        let gap = times[1] - times[0];
        assert!(times[0] == 0.0 && times.windows(2).all(|pair| pair[1] - pair[0] == gap));
    }
}
