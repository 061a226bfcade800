//! Quantiles of plain values.

/// Values at `shares` (0 to 1) of the sorted values; `None` without any value.
pub(super) fn quantiles<const N: usize>(values: &mut [f64], shares: [f64; N]) -> Option<[f64; N]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some(shares.map(|share| values[(share * last as f64).round() as usize]))
}
