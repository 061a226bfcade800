//! The operations that a GPU runs, against the CPU kernels: on the CPU always, on a GPU where build and machine have one.

use super::random::{ARCHITECTURES, RandomModel};
use super::tiny::{TinyModel, load_error, options};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};
use eoscast_kernels::Compute;
use eoscast_worker::runner::load::{LoadError, LoadedRunner, RunnerOptions, load};
use eoscast_worker::runner::{CandleRunner, LogitRows, ModelRunner, Output, SequenceSlice};

/// Largest difference of a logit that is rounding.
const TOLERANCE: f32 = 1e-3;

/// Runners without CPU kernels of the model that `load` loads; on a GPU it computes by `on_gpu`.
fn runners(load: impl Fn(Compute, Device) -> Result<LoadedRunner, LoadError>, on_gpu: Compute) -> Vec<CandleRunner> {
    let gpu = Device::new_cuda(0).ok().map(|gpu| (on_gpu, gpu));
    let places = [(Compute::Portable, Device::Cpu)].into_iter().chain(gpu);
    places.map(|(compute, device)| load(compute, device).unwrap().runner).collect()
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
    let mut output = Output::default();
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
        runner.forward(&batch, &mut output).unwrap();
        let ends: Vec<usize> = batch.iter().map(SequenceSlice::end).collect();
        let mut rows = output.rows(runner.spec().vocab_size);
        for (index, end) in active.into_iter().zip(ends) {
            let sequence = &mut sequences[index];
            sequence.computed = end;
            if end == sequence.tokens.len() {
                let row = rows.next().unwrap().logits;
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
fn greedy_replies_of_a_ragged_batch_are_those_of_the_kernels_in_every_architecture() {
    let prompts: Vec<Vec<u32>> =
        [(1, 1), (2, 15), (3, 16), (4, 33), (5, 70)].map(|(seed, length)| prompt(seed, length)).into();
    for architecture in ARCHITECTURES {
        let model = RandomModel::new(architecture).gguf(GgmlDType::F32);
        let want = generate(&mut model.load(Compute::F32).unwrap().runner, &prompts, 20, 30);
        for mut runner in runners(|compute, device| model.load_on(compute, device), Compute::F32) {
            for (got, want) in generate(&mut runner, &prompts, 20, 30).iter().zip(&want) {
                assert_eq!(got.tokens, want.tokens, "{architecture}");
                for (got, want) in got.rows.iter().zip(&want.rows) {
                    assert_close(got, want, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn sequences_may_share_the_blocks_of_a_common_prefix() {
    let prefix = prompt(6, 32);
    let slice = |tokens, start, block_table| SequenceSlice { tokens, start, block_table, logits: LogitRows::All };
    let shared = |runner: &mut CandleRunner| {
        let mut output = Output::default();
        runner.forward(&[slice(&prefix, 0, &[9, 4])], &mut output).unwrap();
        let batch = [slice(&[10, 11], 32, &[9, 4, 2]), slice(&[12], 32, &[9, 4, 3]), slice(&[10, 13], 32, &[9, 4, 5])];
        runner.forward(&batch, &mut output).unwrap();
        output.logits
    };
    for architecture in ["llama", "gemma3"] {
        let model = RandomModel::new(architecture).gguf(GgmlDType::F32);
        let want = shared(&mut model.load(Compute::F32).unwrap().runner);
        for mut runner in runners(|compute, device| model.load_on(compute, device), Compute::F32) {
            assert_close(&shared(&mut runner), &want, TOLERANCE);
        }
    }
}

/// Logits of every row of one prompt.
fn logits(runner: &mut CandleRunner) -> Vec<f32> {
    let (tokens, mut output) = (prompt(7, 40), Output::default());
    let slice = SequenceSlice { tokens: &tokens, start: 0, block_table: &[3, 1, 2], logits: LogitRows::All };
    runner.forward(&[slice], &mut output).unwrap();
    output.logits
}

/// candle's products take activations in 8 bits, as ours do.
#[test]
fn quantised_weights_give_the_logits_of_the_dequantised_ones() {
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q8_0] {
        let model = TinyModel::new(dtype);
        let want = logits(&mut model.load(Compute::F32).unwrap().runner);
        for mut runner in runners(|compute, device| model.load_on(compute, device), Compute::Quantized) {
            assert_close(&logits(&mut runner), &want, 0.12);
        }
    }
}

#[test]
fn a_hub_folder_runs_where_its_weights_are_put() {
    for architecture in ARCHITECTURES {
        let folder = RandomModel::new(architecture).folder(DType::BF16);
        let load = |compute, device| load(&RunnerOptions { device, ..options(folder.path(), compute) }, &mut |_, _| ());
        let want = logits(&mut load(Compute::F32, Device::Cpu).unwrap().runner);
        for mut runner in runners(load, Compute::F32) {
            assert_close(&logits(&mut runner), &want, TOLERANCE);
        }
    }
}

#[test]
fn a_cache_that_cannot_be_is_refused_with_the_reason() {
    let model = TinyModel::new(GgmlDType::F32);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), model.bytes()).unwrap();
    let mut options = options(file.path(), Compute::Portable);
    options.kv_tokens = 1 << 35;
    let error = load_error(load(&options, &mut |_, _| ()));
    assert!(error.contains("fewer kv tokens"), "{error}");
}
