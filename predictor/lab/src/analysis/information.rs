//! Mutual information of two numbers, by bins.

/// Bins of each number, with equally many values in each as far as ties allow.
const BINS: usize = 12;

/// Mutual information of the two numbers of a pair, in bits; `None` with fewer than 20 pairs for each cell of the table.
///
/// The plug-in estimate over bins of equal frequency is too high by (occupied rows - 1)(occupied columns - 1) / (2 n ln 2) on average
/// (Miller, Note on the bias of information estimates, 1955), which is taken off.
pub(crate) fn mutual_information(pairs: &[(f64, f64)]) -> Option<f64> {
    const LEAST: usize = 20 * BINS * BINS;
    if pairs.len() < LEAST {
        return None;
    }
    let left = bins(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
    let right = bins(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
    let mut joint = [[0.0f64; BINS]; BINS];
    left.iter().zip(&right).for_each(|(i, j)| joint[*i][*j] += 1.0);
    let rows = joint.map(|row| row.iter().sum::<f64>());
    let columns: [f64; BINS] = std::array::from_fn(|j| joint.iter().map(|row| row[j]).sum());
    let total = pairs.len() as f64;
    let mut bits = 0.0;
    for (row, in_row) in joint.iter().zip(rows) {
        for (count, in_column) in row.iter().zip(columns).filter(|(count, _)| **count > 0.0) {
            bits += count / total * (count * total / (in_row * in_column)).log2();
        }
    }
    let occupied = |counts: [f64; BINS]| counts.iter().filter(|count| **count > 0.0).count() as f64;
    let excess = (occupied(rows) - 1.0) * (occupied(columns) - 1.0) / (2.0 * total * std::f64::consts::LN_2);
    Some((bits - excess).max(0.0))
}

/// The bin of each value: by the place where values equal to it begin in order.
fn bins(values: &[f64]) -> Vec<usize> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let first = |value: f64| sorted.partition_point(|other| *other < value);
    values.iter().map(|value| first(*value) * BINS / sorted.len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(right: impl Fn(f64, f64) -> f64) -> Vec<(f64, f64)> {
        let mut random = fastrand::Rng::with_seed(1);
        (0..6_000).map(|_| (random.f64(), random.f64())).map(|(a, b)| (a, right(a, b))).collect()
    }

    #[test]
    fn what_has_nothing_to_do_with_the_other_tells_nothing_and_what_decides_it_tells_its_bin() {
        assert!(mutual_information(&pairs(|_, noise| noise)).unwrap() < 0.01);
        let all = mutual_information(&pairs(|a, _| -a)).unwrap();
        assert!((all - (BINS as f64).log2()).abs() < 0.05, "{all}");
        // No rank correlation would see this.
        assert!(mutual_information(&pairs(|a, noise| (a - 0.5).abs() + 0.1 * noise)).unwrap() > 1.0);
    }

    #[test]
    fn ties_share_a_bin_and_little_data_says_nothing() {
        let two = mutual_information(&pairs(|a, _| f64::from(u8::from(a > 0.5)))).unwrap();
        assert!((two - 1.0).abs() < 0.05, "{two}");
        assert_eq!(mutual_information(&pairs(|_, _| 3.0)), Some(0.0));
        assert_eq!(mutual_information(&pairs(|a, _| a)[..2_000]), None);
    }
}
