//! How long a step takes and a request waits, measured on the caller's clock.

/// Samples over which a mean reaches back.
const REACH: f64 = 256.0;

/// Means of what was measured so far; 0 until something was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MeasuredTimes {
    step_seconds: FadingMean,
    wait: FadingMean,
    /// When the step under way began, if there is one.
    began: Option<f64>,
}

/// The plain mean at first, then one in which old samples fade.
#[derive(Clone, Copy, Debug, Default)]
struct FadingMean {
    value: f64,
    samples: f64,
}

impl FadingMean {
    /// Takes a sample; what is no duration (clocks may be set back) is passed over.
    fn take(&mut self, sample: f64) {
        if sample >= 0.0 && sample.is_finite() {
            self.samples = (self.samples + 1.0).min(REACH);
            self.value += (sample - self.value) / self.samples;
        }
    }
}

impl MeasuredTimes {
    /// A schedule call at `now`: what began at the last one is done.
    pub(crate) fn step(&mut self, now: f64) {
        if let Some(began) = self.began.take() {
            self.step_seconds.take(now - began);
        }
    }

    /// The engine gets work at `now`.
    pub(crate) fn begin(&mut self, now: f64) {
        self.began = Some(now);
    }

    /// A request was admitted for the first time after so many seconds.
    pub(crate) fn waited(&mut self, seconds: f64) {
        self.wait.take(seconds);
    }

    pub(crate) fn step_seconds(&self) -> f64 {
        self.step_seconds.value
    }

    pub(crate) fn mean_wait(&self) -> f64 {
        self.wait.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_no_step() {
        let mut times = MeasuredTimes::default();
        for (now, works) in [(0.0, true), (1.0, true), (4.0, false), (90.0, true), (92.0, false)] {
            times.step(now);
            if works {
                times.begin(now);
            }
        }
        assert_eq!(times.step_seconds(), 2.0);
    }

    #[test]
    fn a_mean_follows_what_lasts() {
        let mut times = MeasuredTimes::default();
        (0..100).for_each(|_| times.waited(1.0));
        assert_eq!(times.mean_wait(), 1.0);
        (0..2000).for_each(|_| times.waited(5.0));
        assert!((times.mean_wait() - 5.0).abs() < 0.01);
        times.waited(f64::NAN);
        times.waited(-3.0);
        assert!((times.mean_wait() - 5.0).abs() < 0.01);
    }
}
