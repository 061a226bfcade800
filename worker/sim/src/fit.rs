//! Non-negative least squares.

/// Passes over the coordinates; a handful of well-scaled terms settle long before.
const PASSES: usize = 20_000;

/// The `x >= 0` with the least sum of squared `row * x - target`, by coordinate descent on the normal equations: each
/// coordinate in turn goes to its optimum given the others, or to 0 (Franc, Hlaváč and Navara, CAIP 2005). Columns are
/// scaled to unit length first, so that prices of nanoseconds and milliseconds settle alike.
pub(super) fn non_negative_least_squares<const N: usize>(rows: impl Iterator<Item = ([f64; N], f64)>) -> [f64; N] {
    let (mut gram, mut projected) = ([[0.0; N]; N], [0.0; N]);
    for (row, target) in rows {
        for i in 0..N {
            projected[i] += row[i] * target;
            for j in 0..N {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    let scale: [f64; N] = std::array::from_fn(|i| if gram[i][i] > 0.0 { gram[i][i].sqrt().recip() } else { 0.0 });
    let mut x = [0.0; N];
    for _ in 0..PASSES {
        for i in 0..N {
            let others: f64 = (0..N).filter(|&j| j != i).map(|j| gram[i][j] * scale[j] * x[j]).sum();
            x[i] = (scale[i] * (projected[i] - others)).max(0.0);
        }
    }
    std::array::from_fn(|i| x[i] * scale[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_that_would_be_negative_is_left_out_and_the_others_fitted_without_it() {
        // Unconstrained: 3 - x. With x left out, the mean.
        let rows = [([1.0, 0.0], 3.0), ([1.0, 1.0], 2.0), ([1.0, 2.0], 1.0)];
        let [constant, slope] = non_negative_least_squares(rows.into_iter());
        assert!((constant - 2.0).abs() < 1e-9 && slope == 0.0, "{constant} {slope}");
    }

    #[test]
    fn a_column_of_zeros_gets_no_weight() {
        assert_eq!(non_negative_least_squares([([2.0, 0.0], 6.0)].into_iter()), [3.0, 0.0]);
    }
}
