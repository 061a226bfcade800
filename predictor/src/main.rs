//! The predictor binary.
fn main() {}
