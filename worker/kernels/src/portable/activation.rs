//! Gated activations of feed-forward layers.

use crate::options::Activation;
use candle_core::{Result, Tensor};

/// As [`gated`](crate::gated).
pub(crate) fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let activated = match activation {
        Activation::Silu => gate.silu(),
        // candle's `gelu` is the one by the hyperbolic tangent.
        Activation::GeluTanh => gate.gelu(),
    };
    activated? * up
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{largest_difference, normals, strided};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gates_are_those_of_the_kernel(rows in 1usize..5, width in 1usize..50, seed in any::<u64>()) {
            let both = strided(normals(rows * 2 * width, seed), rows, 2 * width)?;
            let (gate, up) = (both.narrow(1, 0, width)?, both.narrow(1, width, width)?);
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let (got, want) = (gated(activation, &gate, &up)?, crate::gated(activation, &gate, &up)?);
                let error = largest_difference(&got, &want)?;
                prop_assert!(error < 1e-5, "{:?}: {}", activation, error);
            }
        }
    }
}
