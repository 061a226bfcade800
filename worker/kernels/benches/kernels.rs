//! Times the kernels on the shapes of SmolLM2-135M: `cargo bench -p eoscast-kernels --bench kernels [-- filter [threads]]`.
//!
//! Prints best, median and 90th percentile of repeated calls. Other load on the machine shows in the spread; compare the best.

#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};
use eoscast_kernels::{
    Activation, AttentionSpan, CacheShape, Compute, KvType, Linear, PagedKv, Pool, RopeLayout, Rotation, gated,
    paged_attention, rank_of, rms_norm, row_stats,
};
use std::time::{Duration, Instant};

/// Time given to each measurement, after as much warm-up.
const BUDGET: Duration = Duration::from_millis(150);

/// Best, median and 90th percentile, in seconds.
fn measure(mut call: impl FnMut() -> Result<()>) -> Result<[f64; 3]> {
    let mut timed = || -> Result<Vec<f64>> {
        let mut times = Vec::new();
        let end = Instant::now() + BUDGET;
        while times.is_empty() || Instant::now() < end {
            let start = Instant::now();
            call()?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(times)
    };
    timed()?;
    let mut times = timed()?;
    times.sort_by(f64::total_cmp);
    Ok([times[0], times[times.len() / 2], times[times.len() * 9 / 10]])
}

/// Prints a line; `amount` is what one call does, in billions of `unit`.
fn report(name: &str, [best, median, slow]: [f64; 3], amount: f64, unit: &str) {
    let (rate, usual) = (amount / best, amount / median);
    println!(
        "{name:40} best {:9.1} us, median {:9.1}, p90 {:9.1}: {rate:7.1} {unit} at best, {usual:7.1} at the median",
        best * 1e6,
        median * 1e6,
        slow * 1e6
    );
}

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu)
}

fn linear(wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    let shapes = [(576, 576), (1536, 576), (576, 1536), (49152, 576)];
    let formats = [
        ("q4_1", GgmlDType::Q4_1, Compute::Quantized),
        ("q4_0", GgmlDType::Q4_0, Compute::Quantized),
        ("q8_0", GgmlDType::Q8_0, Compute::Quantized),
        ("f32", GgmlDType::F32, Compute::F32),
    ];
    for (format, dtype, compute) in formats {
        for (out, width) in shapes {
            let mut layer = None;
            for rows in [1, 4, 16, 32, 128] {
                let name = format!("linear {format} {out}x{width} rows {rows}");
                if !wanted(&name) {
                    continue;
                }
                let layer = match &layer {
                    Some(layer) => layer,
                    None => layer.insert(Linear::new(QTensor::quantize(&random(&[out, width])?, dtype)?, compute)?),
                };
                let x = random(&[rows, width])?;
                let times = measure(|| layer.forward(&x).map(drop))?;
                let bytes = layer.size_in_bytes() as f64;
                report(&name, times, 2e-9 * (rows * out * width) as f64, "GOP/s");
                if rows == 1 {
                    report(&format!("{name}, weights read"), times, 1e-9 * bytes, "GB/s");
                }
            }
        }
    }
    Ok(())
}

fn attention(wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    let (heads, kv_heads, head_dim, block_size) = (9, 3, 64, 16);
    for (kv_name, kv_type) in [("f32", KvType::F32), ("f16", KvType::F16)] {
        for (sequences, rows, context) in
            [(1, 1, 64), (1, 1, 512), (16, 1, 64), (16, 1, 512), (1, 128, 128), (1, 512, 512)]
        {
            let name = format!("attention {kv_name} {sequences} x {rows} rows to {context}");
            if !wanted(&name) {
                continue;
            }
            let blocks = context / block_size;
            let shape = CacheShape { num_blocks: sequences * blocks, block_size, kv_heads, head_dim };
            let mut kv = PagedKv::new(kv_type, shape)?;
            let tables: Vec<Vec<u32>> =
                (0..sequences).map(|s| (0..blocks).map(|b| (b * sequences + s) as u32).collect()).collect();
            let start = context - rows;
            let spans: Vec<_> = tables
                .iter()
                .enumerate()
                .map(|(s, block_table)| AttentionSpan { first_row: s * rows, rows, start, block_table })
                .collect();
            let total = sequences * rows;
            let q = random(&[total, heads * head_dim])?;
            let (k, v) = (random(&[total, kv_heads * head_dim])?, random(&[total, kv_heads * head_dim])?);
            let times = measure(|| paged_attention(&q, &k, &v, &mut kv, &spans, 0.125, None).map(drop))?;
            let pairs = sequences * (0..rows).map(|row| start + row + 1).sum::<usize>();
            report(&name, times, 4e-9 * (pairs * heads * head_dim) as f64, "GFLOP/s");
            if rows == 1 {
                let bytes = sequences * context * kv.bytes_per_token();
                report(&format!("{name}, cache read"), times, 1e-9 * bytes as f64, "GB/s");
            }
        }
    }
    Ok(())
}

fn elementwise(wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    for rows in [1, 16, 128] {
        let (x, weight) = (random(&[rows, 576])?, random(&[576])?);
        let (gate, up) = (random(&[rows, 1536])?, random(&[rows, 1536])?);
        let (qk, positions) = (random(&[rows, 768])?, vec![77; rows]);
        let rotation = Rotation::new(&positions, &[0.1; 32]);
        let bench = |name: String, elements: usize, call: &dyn Fn() -> Result<()>| -> Result<()> {
            if wanted(&name) {
                report(&name, measure(call)?, 1e-9 * elements as f64, "Gelement/s");
            }
            Ok(())
        };
        bench(format!("rms_norm rows {rows}"), rows * 576, &|| rms_norm(&x, &weight, 1e-5).map(drop))?;
        bench(format!("swiglu rows {rows}"), rows * 1536, &|| gated(Activation::Silu, &gate, &up).map(drop))?;
        bench(format!("rope rows {rows}"), rows * 768, &|| rotation.apply(&qk, 64, RopeLayout::Interleaved).map(drop))?;
    }
    let logits = random(&[49152])?.to_vec1::<f32>()?;
    if wanted("row_stats") {
        let times = measure(|| {
            std::hint::black_box(row_stats(&logits));
            Ok(())
        })?;
        report("row_stats 49152", times, 49152e-9, "Gelement/s");
        let times = measure(|| {
            std::hint::black_box(rank_of(&logits, 1.5));
            Ok(())
        })?;
        report("rank_of 49152", times, 49152e-9, "Gelement/s");
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(threads) = args.get(1).and_then(|threads| threads.parse().ok()) {
        Pool::set_global(threads);
    }
    let wanted = |name: &str| args.first().is_none_or(|filter| name.contains(filter.as_str()));
    println!("{} threads", Pool::global().threads());
    linear(&wanted)?;
    attention(&wanted)?;
    elementwise(&wanted)
}
