//! The output of the trained models: probabilities of log-spaced bins of natural remaining length.

use crate::distribution::LengthDistribution;

/// Every integer up to this is an edge.
const EXACT: u32 = 4;
/// Edges in each doubling from [`EXACT`] on.
const PER_OCTAVE: u32 = 4;
const OCTAVES: u32 = 9;
const EDGES: usize = (EXACT + OCTAVES * PER_OCTAVE + 1) as usize;

/// Number of bins: 1, 2, 3, 4, 5 .. 8, 9-10, 11-12 .. 1793-2048, and all that is longer.
pub(crate) const BINS: usize = EDGES;

/// Bin k holds the lengths above `BIN_EDGES[k]` and up to `BIN_EDGES[k + 1]`; the last bin is open.
pub(crate) const BIN_EDGES: [u32; EDGES] = edges();

const fn edges() -> [u32; EDGES] {
    let mut edges = [0; EDGES];
    let mut i = 0;
    while i < EDGES as u32 {
        edges[i as usize] = if i < EXACT {
            i
        } else {
            let beyond = i - EXACT;
            let octave = EXACT << (beyond / PER_OCTAVE);
            octave + octave / PER_OCTAVE * (beyond % PER_OCTAVE)
        };
        i += 1;
    }
    edges
}

/// What is known of the remaining length at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// Tokens that came after the step.
    pub remaining: u32,
    /// They were all; else it is only known that there would have been more.
    pub ended: bool,
}

/// The bin of a length of at least 1.
fn bin(length: u32) -> usize {
    BIN_EDGES.partition_point(|edge| *edge < length).saturating_sub(1)
}

/// Length above the last edge of P(length > x), relative to that at the edge: Lomax as beyond any length seen in the prior.
fn tail(tokens: f64) -> f64 {
    let last = f64::from(BIN_EDGES[EDGES - 1]);
    (1.0 + (tokens - last).max(0.0) / last).powi(-2)
}

impl Target {
    /// The share of each bin that agrees with the target, so that its likelihood is the sum of probability times share: 1 in
    /// the bin where the reply ended; where it was cut, 1 in all longer bins and a part of the bin it was cut in.
    pub(crate) fn shares(self) -> [f32; BINS] {
        let mut shares = [0.0; BINS];
        if self.ended {
            shares[bin(self.remaining.max(1))] = 1.0;
            return shares;
        }
        let first = BIN_EDGES.partition_point(|edge| *edge <= self.remaining).saturating_sub(1);
        shares[first..].fill(1.0);
        shares[first] = match BIN_EDGES.get(first + 1) {
            Some(end) => (end - self.remaining) as f32 / (end - BIN_EDGES[first]) as f32,
            None => tail(f64::from(self.remaining)) as f32,
        };
        shares
    }

    /// -ln of the likelihood under the probabilities of the bins.
    #[cfg(test)]
    pub(crate) fn loss(self, probabilities: &[f32; BINS]) -> f64 {
        let likelihood: f32 = self.shares().iter().zip(probabilities).map(|(share, p)| share * p).sum();
        -f64::from(likelihood.max(f32::MIN_POSITIVE)).ln()
    }
}

/// Lanes in which maxima and sums are taken, so that they are vector code.
const LANES: usize = 8;

/// Turns scores into probabilities in place.
pub(crate) fn softmax(scores: &mut [f32; BINS]) {
    let largest = lanes(scores, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    scores.iter_mut().for_each(|score| *score = exp(*score - largest));
    let scale = 1.0 / lanes(scores, 0.0, |a, b| a + b);
    scores.iter_mut().for_each(|score| *score *= scale);
}

/// Brings all values together by `join`, of which `start` is the neutral element.
fn lanes(values: &[f32; BINS], start: f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut joined = [start; LANES];
    for chunk in chunks {
        for (a, b) in joined.iter_mut().zip(chunk) {
            *a = join(*a, *b);
        }
    }
    joined.iter().chain(rest).fold(start, |a, b| join(a, *b))
}

/// e^x for x of at most 0, to 2 units in the last place; 0 below -87. Without calls, so that loops over it are vector code, and
/// the same on every machine: 2^n times a polynomial on |r| <= ln(2)/2 (that of Moshier's Cephes library, expf.c).
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let n = x.max(-87.0) * std::f32::consts::LOG2_E + ROUND;
    let whole = n - ROUND;
    // ln(2) in two parts, of which the first has few bits.
    let r = x.max(-87.0) - whole * 0.693_359_4 + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let scale = f32::from_bits(n.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { (p * r * r + r + 1.0) * scale }
}

/// P(length > tokens), asked in ascending order, with these probabilities of bins, uniform within each.
pub(crate) fn survival(probabilities: &[f32; BINS]) -> impl FnMut(u32) -> f64 {
    let mut left = [0.0; EDGES + 1];
    for k in (0..BINS).rev() {
        left[k] = left[k + 1] + f64::from(probabilities[k]);
    }
    let scale = 1.0 / left[0].max(f64::MIN_POSITIVE);
    left.iter_mut().for_each(|left| *left *= scale);
    let mut k = 0;
    move |tokens| {
        while k + 1 < EDGES && BIN_EDGES[k + 1] < tokens {
            k += 1;
        }
        match BIN_EDGES.get(k + 1) {
            Some(end) => left[k + 1] + (left[k] - left[k + 1]) * f64::from(end - tokens) * PER_TOKEN[k],
            None => left[k] * tail(f64::from(tokens)),
        }
    }
}

/// One over the width of each bin but the last.
const PER_TOKEN: [f64; BINS - 1] = {
    let mut shares = [0.0; BINS - 1];
    let mut k = 0;
    while k < BINS - 1 {
        shares[k] = 1.0 / (BIN_EDGES[k + 1] - BIN_EDGES[k]) as f64;
        k += 1;
    }
    shares
};

/// The distribution with these probabilities of bins, uniform within each.
pub(crate) fn distribution(probabilities: &[f32; BINS]) -> LengthDistribution {
    LengthDistribution::from_survival(survival(probabilities))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uniform() -> [f32; BINS] {
        [1.0 / BINS as f32; BINS]
    }

    #[test]
    fn edges_ascend_from_nothing_to_two_thousand() {
        assert_eq!(BIN_EDGES[..9], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((BIN_EDGES[9], BIN_EDGES[EDGES - 1]), (10, 2048));
        assert!(BIN_EDGES.is_sorted_by(|a, b| a < b));
        assert_eq!(
            (bin(1), bin(2), bin(9), bin(10), bin(11), bin(2048), bin(2049)),
            (0, 1, 8, 8, 9, BINS - 2, BINS - 1)
        );
    }

    #[test]
    fn a_cut_reply_counts_for_all_that_is_longer() {
        let shares = Target { remaining: 9, ended: false }.shares();
        assert_eq!((shares[7], shares[8], shares[9], shares[BINS - 1]), (0.0, 0.5, 1.0, 1.0));
        let at_once = Target { remaining: 0, ended: false }.shares();
        assert_eq!(at_once, [1.0; BINS]);
        assert!(Target { remaining: 5000, ended: false }.shares()[BINS - 1] < 1.0);
    }

    proptest! {
        #[test]
        fn the_exponential_is_that_of_the_standard_library(x in -90.0f32..=0.0) {
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            prop_assert!((ours - exact).abs() <= 2.5e-7 * exact || x < -87.0 && ours == 0.0, "{ours} and {exact}");
        }

        #[test]
        fn the_likelihood_is_that_of_the_distribution(scores in proptest::collection::vec(-3.0f32..3.0, BINS), cut in 1u32..4000) {
            let mut probabilities: [f32; BINS] = scores.try_into().unwrap();
            softmax(&mut probabilities);
            let loss = Target { remaining: cut, ended: false }.loss(&probabilities);
            let survival = distribution(&probabilities).survival(f64::from(cut));
            // Above the last edge the distribution has edges of its own.
            let tolerance = if cut > 2048 { 0.02 } else { 1e-4 };
            prop_assert!((loss + survival.ln()).abs() < tolerance, "{} and {}", loss, -survival.ln());
        }
    }

    #[test]
    fn the_distribution_has_the_mass_of_its_bins() {
        let distribution = distribution(&uniform());
        for (k, edge) in BIN_EDGES.iter().enumerate() {
            let left = (BINS - k) as f64 / BINS as f64;
            assert!((distribution.survival(f64::from(*edge)) - left).abs() < 1e-6);
        }
    }
}
