//! Gated activations of feed-forward layers.

use super::rows::{Rows, build, padded};
use crate::options::Activation;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use candle_core::{Device, Result, Tensor};

/// As [`gated`](crate::gated).
pub(crate) fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let gate = Rows::new("gate", gate)?;
    let up = Rows::with_shape("up", up, gate.count, gate.width)?;
    let out = build(gate.count, gate.width, |index, out| {
        let (gate, up) = (gate.row(index), up.row(index));
        match activation {
            Activation::Silu => dispatch(Gated::<false> { gate, up, out }),
            Activation::GeluTanh => dispatch(Gated::<true> { gate, up, out }),
        }
    });
    Tensor::from_vec(out, (gate.count, gate.width), &Device::Cpu)
}

/// One row; `GELU` picks the activation at compile time.
struct Gated<'a, const GELU: bool> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl<const GELU: bool> Kernel for Gated<'_, GELU> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gate, up, out } = self;
        let (gates, gate_tail) = gate.as_chunks::<LANES>();
        let (ups, up_tail) = up.as_chunks::<LANES>();
        let (outs, out_tail) = out.as_chunks_mut::<LANES>();
        let (gates, ups) = (&gates[..outs.len()], &ups[..outs.len()]);
        for (at, out) in outs.iter_mut().enumerate() {
            s.store(eight::<S, GELU>(s, &gates[at], &ups[at]), out);
        }
        let lanes = s.lanes(eight::<S, GELU>(s, &padded(gate_tail), &padded(up_tail)));
        out_tail.copy_from_slice(&lanes[..out_tail.len()]);
    }
}

#[inline(always)]
fn eight<S: Simd, const GELU: bool>(s: S, gate: &[f32; LANES], up: &[f32; LANES]) -> S::F32 {
    /// `2 sqrt(2/π)`.
    const SLOPE: f32 = 1.595_769_2;
    let gate = s.load(gate);
    let t = if GELU {
        let cubic = s.mul(s.mul(gate, gate), s.splat(0.044_715 * SLOPE));
        s.mul(gate, s.add(cubic, s.splat(SLOPE)))
    } else {
        gate
    };
    let denominator = s.add(s.splat(1.0), s.exp(s.sub(s.splat(0.0), t)));
    s.mul(s.div(gate, denominator), s.load(up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Plain;
    use crate::testing::normals;
    use proptest::prelude::*;

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }

    fn on_both_paths<const GELU: bool>(gate: &[f32], up: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (mut out, mut plain) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
        dispatch(Gated::<GELU> { gate, up, out: &mut out });
        Gated::<GELU> { gate, up, out: &mut plain }.run(Plain);
        (out, plain)
    }

    proptest! {
        #[test]
        fn gates_are_exact_to_rounding_and_alike_on_every_path(width in 1usize..50, seed in any::<u64>()) {
            let gate: Vec<f32> = normals(width, seed).into_iter().map(|x| 20.0 * x).collect();
            let up = normals(width, seed ^ 1);
            for (activation, (out, plain)) in [
                (Activation::Silu, on_both_paths::<false>(&gate, &up)),
                (Activation::GeluTanh, on_both_paths::<true>(&gate, &up)),
            ] {
                prop_assert_eq!(&out, &plain);
                for ((got, gate), up) in out.iter().zip(&gate).zip(&up) {
                    let want = exact(activation, f64::from(*gate)) * f64::from(*up);
                    let near = (f64::from(*got) - want).abs() <= 4e-6 * want.abs() + 1e-6 * f64::from(up.abs());
                    prop_assert!(near, "{:?}: {} {}", activation, got, want);
                }
            }
        }
    }
}
