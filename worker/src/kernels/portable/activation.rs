//! Gated activations of feed-forward layers.

use candle_core::{Result, Tensor};

/// As [`swiglu`](crate::kernels::swiglu).
pub(crate) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{largest_difference, normals, strided};
    use super::*;
    use crate::kernels;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn swiglu_is_that_of_the_kernel(rows in 1usize..5, width in 1usize..50, seed in any::<u64>()) {
            let both = strided(normals(rows * 2 * width, seed), rows, 2 * width)?;
            let (gate, up) = (both.narrow(1, 0, width)?, both.narrow(1, width, width)?);
            prop_assert!(largest_difference(&swiglu(&gate, &up)?, &kernels::swiglu(&gate, &up)?)? < 1e-5);
        }
    }
}
