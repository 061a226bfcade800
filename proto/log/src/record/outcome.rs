//! [`Outcome`]: how long a finished reply was, as models learn it.

use serde::{Deserialize, Serialize};

/// How long one finished reply was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Tokens generated.
    pub length: u32,
    /// The natural length is only known to be larger.
    pub censored: bool,
    /// Where it stood in forecasts of it, if these came from a trained model.
    pub pits: Option<Pits>,
}

impl Outcome {
    /// Of a reply that no trained model forecast.
    pub fn new(length: u32, censored: bool) -> Self {
        Self { length, censored, pits: None }
    }
}

/// Where a reply stood in the distributions that a trained model gave before calibration: P(length <= true length), for one
/// forecast of each age (tokens generated: 0-15, 16-63, 64-127, 128-255, 256 and more) that the reply came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pits {
    /// The first 32 bits of the SHA-256 of the model's artifact.
    pub artifact: u32,
    /// 0 to 1; of a cut reply, a lower bound.
    pub values: [Option<f32>; Self::AGES],
}

impl Pits {
    /// Number of ages.
    pub const AGES: usize = 5;
}
