//! [`Running`]: mean, spread and maximum of a whole series, value by value.

/// By Welford's recurrence (Technometrics 4, 1962).
#[derive(Debug, Clone, Copy, Default)]
pub struct Running {
    mean: f64,
    squares: f64,
    max: f32,
    count: u32,
}

impl Running {
    /// Adds a value.
    pub fn push(&mut self, value: f32) {
        self.count += 1;
        let delta = f64::from(value) - self.mean;
        self.mean += delta / f64::from(self.count);
        self.squares += delta * (f64::from(value) - self.mean);
        self.max = if self.count == 1 { value } else { self.max.max(value) };
    }

    /// The largest value; 0 before the first.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// Whether there is no value yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Mean, maximum and population standard deviation of the values; zeros before the first.
    pub fn summary(&self) -> [f32; 3] {
        let spread = (self.squares / f64::from(self.count.max(1))).sqrt();
        [self.mean as f32, self.max, spread as f32]
    }
}
