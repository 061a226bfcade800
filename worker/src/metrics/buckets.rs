//! vLLM's buckets, so that its dashboards and ours show the same steps. Where small models are faster than vLLM's first bucket
//! there are finer ones before it.

/// Seconds to the first token.
pub(super) const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];

/// Seconds from one token to the next; vLLM begins with 0.01.
pub(super) const NEXT_TOKEN: [f64; 22] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
];

/// Seconds of a request and of its parts; vLLM begins with 0.3.
pub(super) const REQUEST: [f64; 26] = [
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
    120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
];

/// Tokens of a step.
pub(super) const STEP_TOKENS: [f64; 13] =
    [1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16_384.0];

/// Tokens of a prompt or reply: 1, 2, 5, 10, 20, 50, ... up to `most`.
pub(super) fn tokens(most: usize) -> impl Iterator<Item = f64> {
    // Far beyond any context, and exact.
    let powers = (0..9).map(|exponent| 10_f64.powi(exponent));
    powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * power)).take_while(move |bucket| *bucket <= most as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_tokens_are_round_numbers_within_the_context() {
        assert_eq!(tokens(100).collect::<Vec<_>>(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(tokens(8192).last(), Some(5000.0));
    }

    #[test]
    fn buckets_grow() {
        for buckets in [&FIRST_TOKEN[..], &NEXT_TOKEN, &REQUEST, &STEP_TOKENS] {
            assert!(buckets.is_sorted());
        }
    }
}
