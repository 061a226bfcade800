//! Kendall's tau-b: whether forecasts put live requests in the order in which they will end.

use super::Judged;
use eoscast_proto::domain::Forecast;

/// Shares of the length at which replies are ranked, in percent.
pub(crate) const PROGRESS: [u32; 4] = [0, 25, 50, 75];

/// The pair (forecast, service remaining length) of each reply when it has `percent` of its tokens; `point` makes the forecast a
/// number. Replies without tokens give NaN.
pub(crate) fn at_progress(judged: &[Judged<'_>], percent: u32, point: fn(&Forecast) -> f64) -> Vec<(f64, f64)> {
    let pair = |one: &Judged<'_>| {
        let t = (u64::from(one.reply.output_length) * u64::from(percent) / 100) as u32;
        let forecast = one.answers.get(t as usize).map_or(f64::NAN, point);
        (forecast, f64::from(one.reply.remaining(t)))
    };
    judged.iter().map(pair).collect()
}

/// `pairs` with pair `i` `counts[i]` times, which are whole numbers.
pub(crate) fn repeat(pairs: &[(f64, f64)], counts: &[f64]) -> Vec<(f64, f64)> {
    pairs.iter().zip(counts).flat_map(|(pair, count)| std::iter::repeat_n(*pair, *count as usize)).collect()
}

/// Kendall's tau-b, from -1 to 1, in O(n log n) (Knight, JASA 61, 1966); `None` where all values of one side are equal.
///
/// tau-b = (concordant - discordant) / sqrt((n0 - n1) (n0 - n2)), with n0 pairs in all and n1, n2 tied on one side. A pair that is
/// tied on both sides counts nowhere, so a bootstrap may draw a reply twice.
pub(crate) fn tau_b(mut pairs: Vec<(f64, f64)>) -> Option<f64> {
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let tied_left = tied_pairs(pairs.chunk_by(|a, b| a.0 == b.0));
    let tied_both = tied_pairs(pairs.chunk_by(|a, b| a == b));
    let mut right: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let discordant = sort_counting_swaps(&mut right) as f64;
    let tied_right = tied_pairs(right.chunk_by(|a, b| a == b));
    let all = pairs.len() as f64 * (pairs.len() as f64 - 1.0) / 2.0;
    let concordant = all - tied_left - tied_right + tied_both - discordant;
    let scale = ((all - tied_left) * (all - tied_right)).sqrt();
    (scale > 0.0).then(|| (concordant - discordant) / scale)
}

/// Pairs within runs of equal values.
fn tied_pairs<'a, T: 'a>(runs: impl Iterator<Item = &'a [T]>) -> f64 {
    runs.map(|run| run.len() as f64 * (run.len() as f64 - 1.0) / 2.0).sum()
}

/// Pairs of forecast median and truth before the prompts were read.
pub(crate) fn on_arrival(judged: &[Judged<'_>]) -> Vec<(f64, f64)> {
    let pair = |one: &Judged<'_>| Some((one.arrival?.median(), f64::from(one.reply.remaining(0))));
    judged.iter().filter_map(pair).collect()
}

/// Merge sort; gives the number of pairs that stood in the wrong order.
fn sort_counting_swaps(values: &mut [f64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut swaps = sort_counting_swaps(left) + sort_counting_swaps(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if right[j] < left[i] {
            swaps += (left.len() - i) as u64;
            merged.push(right[j]);
            j += 1;
        } else {
            merged.push(left[i]);
            i += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    values.copy_from_slice(&merged);
    swaps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use eoscast_forecast::judging::testing::reply;
    use eoscast_proto::domain::Forecast;

    /// By its definition, pair by pair.
    fn brute_force(pairs: &[(f64, f64)]) -> Option<f64> {
        let sign = |a: f64, b: f64| if a == b { 0.0 } else { (a - b).signum() };
        let (mut score, mut left, mut right) = (0.0, 0.0, 0.0);
        for (i, a) in pairs.iter().enumerate() {
            for b in &pairs[..i] {
                let (x, y) = (sign(a.0, b.0), sign(a.1, b.1));
                score += x * y;
                left += x * x;
                right += y * y;
            }
        }
        (left * right > 0.0).then(|| score / f64::sqrt(left * right))
    }

    #[test]
    fn order_and_its_reverse_are_one_and_minus_one() {
        assert_eq!(tau_b(vec![(3.0, 30.0), (1.0, 10.0), (2.0, 20.0)]), Some(1.0));
        assert_eq!(tau_b(vec![(3.0, 10.0), (1.0, 30.0), (2.0, 20.0)]), Some(-1.0));
        assert_eq!(tau_b(vec![(3.0, 10.0), (3.0, 30.0)]), None);
        assert_eq!(tau_b(vec![]), None);
    }

    #[test]
    fn replies_are_ranked_when_each_has_the_same_share_of_its_tokens() {
        let (a, b) = (reply(8, 100, true), reply(3, 100, true));
        let judged = [Judged::new(&a, |t| Forecast::point(t as f32)), Judged::new(&b, |t| Forecast::point(t as f32))];
        assert_eq!(at_progress(&judged, 50, |answer| f64::from(answer.mean)), [(4.0, 4.0), (1.0, 2.0)]);
    }

    proptest! {
        #[test]
        fn it_is_what_counting_all_pairs_gives(pairs in proptest::collection::vec((0u8..12, 0u8..12), 0..60)) {
            let pairs: Vec<_> = pairs.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).collect();
            match (tau_b(pairs.clone()), brute_force(&pairs)) {
                (Some(fast), Some(slow)) => prop_assert!((fast - slow).abs() < 1e-12, "{fast} against {slow}"),
                (fast, slow) => prop_assert_eq!(fast, slow),
            }
        }
    }
}
