//! [`Running`]: mean, spread and maximum of a whole series, value by value.

/// By Welford's recurrence (Technometrics 4, 1962).
#[derive(Debug, Clone, Copy, Default)]
pub struct Running {
    mean: f64,
    squares: f64,
    max: f32,
}

impl Running {
    /// Adds value number `count`, which counts from 1.
    pub fn push(&mut self, value: f32, count: u32) {
        let delta = f64::from(value) - self.mean;
        self.mean += delta / f64::from(count);
        self.squares += delta * (f64::from(value) - self.mean);
        self.max = if count == 1 { value } else { self.max.max(value) };
    }

    /// The largest value; 0 before the first.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Mean, maximum and population standard deviation of `count` values; zeros before the first.
    pub fn summary(&self, count: u32) -> [f32; 3] {
        let spread = (self.squares / f64::from(count.max(1))).sqrt();
        [self.mean as f32, self.max, spread as f32]
    }
}
