//! Gated activations of feed-forward layers.

use super::portable;
use super::rows::{Rows, build, padded};
use super::simd::{Kernel, LANES, Simd, dispatch};
use candle_core::{Device, Result, Tensor};

/// `silu(gate) * up` with `silu(x) = x / (1 + e^-x)` (Shazeer 2020); all `[rows, n]`.
///
/// # Errors
/// Where the operands are not `f32` on one device, on the CPU with contiguous rows, or the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !gate.device().is_cpu() {
        return portable::swiglu(gate, up);
    }
    let gate = Rows::new("gate", gate)?;
    let up = Rows::with_shape("up", up, gate.count, gate.width)?;
    let out = build(gate.count, gate.width, |index, out| {
        dispatch(Swiglu { gate: gate.row(index), up: up.row(index), out });
    });
    Tensor::from_vec(out, (gate.count, gate.width), &Device::Cpu)
}

struct Swiglu<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Swiglu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gate, up, out } = self;
        let (gates, gate_tail) = gate.as_chunks::<LANES>();
        let (ups, up_tail) = up.as_chunks::<LANES>();
        let (outs, out_tail) = out.as_chunks_mut::<LANES>();
        let (gates, ups) = (&gates[..outs.len()], &ups[..outs.len()]);
        for (at, out) in outs.iter_mut().enumerate() {
            s.store(eight(s, &gates[at], &ups[at]), out);
        }
        let lanes = s.lanes(eight(s, &padded(gate_tail), &padded(up_tail)));
        out_tail.copy_from_slice(&lanes[..out_tail.len()]);
    }
}

#[inline(always)]
fn eight<S: Simd>(s: S, gate: &[f32; LANES], up: &[f32; LANES]) -> S::F32 {
    let gate = s.load(gate);
    let denominator = s.add(s.splat(1.0), s.exp(s.sub(s.splat(0.0), gate)));
    s.mul(s.div(gate, denominator), s.load(up))
}

#[cfg(test)]
mod tests {
    use super::super::simd::Plain;
    use super::super::testing::normals;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn swiglu_is_exact_to_rounding_and_alike_on_every_path(width in 1usize..50, seed in any::<u64>()) {
            let gate: Vec<f32> = normals(width, seed).into_iter().map(|x| 20.0 * x).collect();
            let up = normals(width, seed ^ 1);
            let (mut out, mut plain) = (vec![0.0; width], vec![0.0; width]);
            dispatch(Swiglu { gate: &gate, up: &up, out: &mut out });
            Swiglu { gate: &gate, up: &up, out: &mut plain }.run(Plain);
            prop_assert_eq!(&out, &plain);
            for ((got, gate), up) in out.iter().zip(&gate).zip(&up) {
                let gate = f64::from(*gate);
                let want = gate / (1.0 + (-gate).exp()) * f64::from(*up);
                prop_assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs() + 1e-30, "{} {}", got, want);
            }
        }
    }
}
