//! The operations that a GPU runs, against the CPU kernels: on the CPU always, on a GPU where build and machine have one.

use super::tiny::TinyModel;
use candle_core::Device;
use candle_core::quantized::GgmlDType;
use eoscast_worker::kernels::Compute;
use eoscast_worker::runner::{CandleRunner, LogitRows, ModelRunner, SequenceSlice};

/// Runners of `model` without CPU kernels, and how far logits may lie from those of `Compute::F32`.
fn runners(model: &TinyModel, tolerance: f32) -> Vec<(CandleRunner, f32)> {
    let mut runners = vec![(model.load_on(Compute::Portable, Device::Cpu).unwrap().runner, tolerance)];
    if let Ok(gpu) = Device::new_cuda(0) {
        // Keys and values in half precision there.
        runners.push((model.load_on(Compute::Quantized, gpu).unwrap().runner, tolerance + 0.02));
    }
    runners
}

struct Sequence {
    tokens: Vec<u32>,
    computed: usize,
    block_table: Vec<u32>,
    /// Rows of logits that a token was chosen from.
    rows: Vec<Vec<f32>>,
}

fn argmax(row: &[f32]) -> u32 {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32
}

/// Continues prompts greedily by `new_tokens`, all in one batch, prompts in chunks of at most `chunk`.
fn generate(runner: &mut CandleRunner, prompts: &[Vec<u32>], chunk: usize, new_tokens: usize) -> Vec<Sequence> {
    let count = prompts.len() as u32;
    let mut sequences: Vec<Sequence> = (0..count)
        .zip(prompts)
        .map(|(index, prompt)| Sequence {
            tokens: prompt.clone(),
            computed: 0,
            block_table: (0..8).map(|block| (7 - block) * count + index).collect(),
            rows: Vec::new(),
        })
        .collect();
    let mut logits = Vec::new();
    while sequences.iter().any(|sequence| sequence.rows.len() < new_tokens) {
        let active: Vec<usize> =
            (0..sequences.len()).filter(|index| sequences[*index].rows.len() < new_tokens).collect();
        let slice = |index: &usize| {
            let Sequence { tokens, computed, block_table, .. } = &sequences[*index];
            let end = tokens.len().min(computed + chunk);
            let logits = if end == tokens.len() { LogitRows::Last } else { LogitRows::None };
            SequenceSlice { tokens: &tokens[*computed..end], start: *computed, block_table, logits }
        };
        let batch: Vec<SequenceSlice<'_>> = active.iter().map(slice).collect();
        runner.forward(&batch, &mut logits).unwrap();
        let ends: Vec<usize> = batch.iter().map(SequenceSlice::end).collect();
        let mut rows = logits.chunks(runner.spec().vocab_size);
        for (index, end) in active.into_iter().zip(ends) {
            let sequence = &mut sequences[index];
            sequence.computed = end;
            if end == sequence.tokens.len() {
                let row = rows.next().unwrap();
                sequence.tokens.push(argmax(row));
                sequence.rows.push(row.to_vec());
            }
        }
    }
    sequences
}

fn prompt(seed: u32, length: u32) -> Vec<u32> {
    (0..length).map(|index| (seed * 31 + index * index * 7 + index) % 262).collect()
}

fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    let apart = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
    assert!(got.len() == want.len() && apart <= tolerance, "logits {apart} apart");
}

#[test]
fn greedy_replies_of_a_ragged_batch_are_those_of_the_kernels() {
    let prompts: Vec<Vec<u32>> =
        [(1, 1), (2, 15), (3, 16), (4, 33), (5, 70)].map(|(seed, length)| prompt(seed, length)).into();
    let model = TinyModel::new(GgmlDType::F32);
    let want = generate(&mut model.load(Compute::F32).unwrap().runner, &prompts, 20, 30);
    for (mut runner, tolerance) in runners(&model, 1e-4) {
        for (got, want) in generate(&mut runner, &prompts, 20, 30).iter().zip(&want) {
            assert_eq!(got.tokens, want.tokens);
            for (got, want) in got.rows.iter().zip(&want.rows) {
                assert_close(got, want, tolerance);
            }
        }
    }
}

#[test]
fn sequences_may_share_the_blocks_of_a_common_prefix() {
    let prefix = prompt(6, 32);
    let slice = |tokens, start, block_table| SequenceSlice { tokens, start, block_table, logits: LogitRows::All };
    let shared = |runner: &mut CandleRunner| {
        let mut logits = Vec::new();
        runner.forward(&[slice(&prefix, 0, &[9, 4])], &mut logits).unwrap();
        let batch = [slice(&[10, 11], 32, &[9, 4, 2]), slice(&[12], 32, &[9, 4, 3]), slice(&[10, 13], 32, &[9, 4, 5])];
        runner.forward(&batch, &mut logits).unwrap();
        logits
    };
    let model = TinyModel::new(GgmlDType::F32);
    let want = shared(&mut model.load(Compute::F32).unwrap().runner);
    for (mut runner, tolerance) in runners(&model, 1e-4) {
        assert_close(&shared(&mut runner), &want, tolerance);
    }
}

/// candle's products take activations in 8 bits, as ours do.
#[test]
fn quantised_weights_give_the_logits_of_the_dequantised_ones() {
    let tokens = prompt(7, 40);
    let all = |runner: &mut CandleRunner| {
        let mut logits = Vec::new();
        let slice = SequenceSlice { tokens: &tokens, start: 0, block_table: &[3, 1, 2], logits: LogitRows::All };
        runner.forward(&[slice], &mut logits).unwrap();
        logits
    };
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q8_0] {
        let model = TinyModel::new(dtype);
        let want = all(&mut model.load(Compute::F32).unwrap().runner);
        for (mut runner, tolerance) in runners(&model, 0.1) {
            assert_close(&all(&mut runner), &want, tolerance);
        }
    }
}

#[test]
fn a_cache_that_cannot_be_is_refused_with_the_reason() {
    let model = TinyModel::new(GgmlDType::F32);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), model.bytes()).unwrap();
    let mut options = super::tiny::options(file.path(), Compute::Portable);
    options.kv_tokens = 1 << 35;
    let error = super::tiny::load_error(eoscast_worker::models::load(&options, &mut |_, _| ()));
    assert!(error.contains("fewer kv tokens"), "{error}");
}
