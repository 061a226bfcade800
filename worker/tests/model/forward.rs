//! The forward pass: right by candle-transformers' own Llama, and the same bits however the work is cut and batched.

use super::random::{ARCHITECTURES, RandomModel};
use super::tiny::{BLOCK_SIZE, HEADS, HIDDEN, NUM_BLOCKS, TinyModel};
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use eoscast_kernels::Compute;
use eoscast_worker::runner::{
    CandleRunner, LogitRows, ModelRunner, Output, OutputRow, RunnerError, SequenceSlice, SketchOptions,
};

fn runner(model: &TinyModel, compute: Compute) -> CandleRunner {
    let sketch = SketchOptions { dims: Some(16), layer: None };
    model.load(compute).unwrap().runner.with_sketch(sketch).unwrap()
}

/// One runner per arithmetic, each with the weights it is meant for, and one per architecture.
fn runners() -> Vec<CandleRunner> {
    let arithmetics =
        [(GgmlDType::F32, Compute::F32), (GgmlDType::Q4_1, Compute::Quantized), (GgmlDType::Q8_0, Compute::Quantized)]
            .map(|(dtype, compute)| runner(&TinyModel::new(dtype), compute));
    let architectures = ARCHITECTURES
        .map(|architecture| runner(&RandomModel::new(architecture).gguf(GgmlDType::Q8_0), Compute::Quantized));
    arithmetics.into_iter().chain(architectures).collect()
}

fn tokens(seed: u32, length: u32) -> Vec<u32> {
    (0..length).map(|index| (seed * 31 + index * index * 7 + index) % 262).collect()
}

/// Computes `tokens` in chunks of the given lengths and returns the bits of every row, logits and sketch.
fn rows(runner: &mut CandleRunner, tokens: &[u32], chunks: &[usize], block_table: &[u32]) -> Vec<Vec<u32>> {
    let mut start = 0;
    let mut rows = Vec::new();
    for chunk in chunks {
        let slice = SequenceSlice { tokens: &tokens[start..start + chunk], start, block_table, logits: LogitRows::All };
        rows.extend(forward(runner, &[slice]));
        start += chunk;
    }
    assert_eq!(start, tokens.len());
    rows
}

fn forward(runner: &mut CandleRunner, batch: &[SequenceSlice<'_>]) -> Vec<Vec<u32>> {
    let mut output = Output::default();
    runner.forward(batch, &mut output).unwrap();
    let bits = |row: OutputRow<'_>| row.logits.iter().chain(row.sketch).map(|number| number.to_bits()).collect();
    output.rows(runner.spec().vocab_size).map(bits).collect()
}

fn assert_agrees_with_candle(model: &TinyModel) {
    let mut file = std::io::Cursor::new(model.bytes());
    let content = Content::read(&mut file).unwrap();
    let mut reference = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    let tokens = tokens(5, 40);
    let ours = rows(&mut runner(model, Compute::F32), &tokens, &[20, 1, 19], &[9, 3, 5]);
    for (position, token) in tokens.iter().enumerate() {
        let input = Tensor::new(&[[*token]], &Device::Cpu).unwrap();
        let theirs: Vec<f32> = reference.forward(&input, position).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let apart = ours[position]
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| (f32::from_bits(*ours) - theirs).abs())
            .fold(0.0, f32::max);
        assert!(apart < 1e-4, "position {position}: logits {apart} apart");
    }
}

#[test]
fn every_position_agrees_with_candles_llama() {
    assert_agrees_with_candle(&TinyModel::new(GgmlDType::F32));
}

#[test]
fn a_separate_output_matrix_is_used() {
    let values: Vec<f32> = (0..262 * HIDDEN).map(|index| ((index * 37 % 101) as f32 - 50.0) / 400.0).collect();
    let output = Tensor::from_vec(values, (262, HIDDEN), &Device::Cpu).unwrap();
    assert_agrees_with_candle(&TinyModel::new(GgmlDType::F32).set_tensor("output.weight", &output));
}

#[test]
fn rope_factors_of_the_file_scale_the_angles_like_linear_scaling_does() {
    let factors = Tensor::new(vec![4f32; HIDDEN / HEADS / 2], &Device::Cpu).unwrap();
    let by_factors = TinyModel::new(GgmlDType::F32).set_tensor("rope_freqs.weight", &factors);
    let by_scaling = TinyModel::new(GgmlDType::F32)
        .set("llama.rope.scaling.type", Value::String("linear".to_owned()))
        .set("llama.rope.scaling.factor", Value::F32(4.0));
    let tokens = tokens(2, 12);
    let of = |model: &TinyModel| rows(&mut runner(model, Compute::F32), &tokens, &[12], &[0, 1, 2]);
    assert_eq!(of(&by_factors), of(&by_scaling));
    assert_ne!(of(&by_factors), of(&TinyModel::new(GgmlDType::F32)));
}

#[test]
fn a_prompt_in_chunks_gives_the_bits_of_the_whole() {
    let tokens = tokens(1, 37);
    let table = [0, 1, 2];
    for mut runner in runners() {
        let whole = rows(&mut runner, &tokens, &[37], &table);
        for chunks in [vec![1; 37], vec![5, 14, 1, 17], vec![16, 21]] {
            assert_eq!(rows(&mut runner, &tokens, &chunks, &table), whole, "{chunks:?}");
        }
    }
}

#[test]
fn recomputing_in_other_blocks_gives_the_same_bits() {
    let tokens = tokens(3, 37);
    for mut runner in runners() {
        let first = rows(&mut runner, &tokens, &[32, 1, 1, 1, 1, 1], &[0, 1, 2]);
        assert_eq!(rows(&mut runner, &tokens, &[36, 1], &[40, 2, 33]), first);
    }
}

#[test]
fn a_ragged_batch_gives_the_bits_of_one_sequence_at_a_time() {
    let sequences: Vec<Vec<u32>> = [1, 3, 4, 15, 16, 33, 50].iter().map(|length| tokens(*length, *length)).collect();
    let tables: Vec<Vec<u32>> =
        (0..sequences.len() as u32).map(|index| (index * 8..(index + 1) * 8).collect()).collect();
    for mut runner in runners() {
        let alone: Vec<Vec<Vec<u32>>> = sequences
            .iter()
            .map(|tokens| rows(&mut runner, tokens, &[tokens.len()], &[60, 61, 62, 63, 59, 58, 57, 56]))
            .collect();
        // Decodes, prefill chunks and whole prompts side by side: all but the last few tokens first, then the rest.
        let split = |index: usize| sequences[index].len().saturating_sub(1 + index);
        let slices = |part: fn(&[u32], usize) -> (&[u32], usize)| -> Vec<SequenceSlice<'_>> {
            (0..sequences.len())
                .map(|index| {
                    let (tokens, start) = part(&sequences[index], split(index));
                    SequenceSlice { tokens, start, block_table: &tables[index], logits: LogitRows::All }
                })
                .filter(|slice| !slice.tokens.is_empty())
                .collect()
        };
        forward(&mut runner, &slices(|tokens, split| (&tokens[..split], 0)));
        let batched = forward(&mut runner, &slices(|tokens, split| (&tokens[split..], split)));
        let expected: Vec<Vec<u32>> =
            (0..sequences.len()).flat_map(|index| alone[index][split(index)..].to_vec()).collect();
        assert_eq!(batched, expected);
    }
}

#[test]
fn only_the_wanted_rows_come_back() {
    let (a, b, c) = (tokens(1, 6), tokens(2, 3), tokens(3, 5));
    let slice = |tokens, block_table, logits| SequenceSlice { tokens, start: 0, block_table, logits };
    for mut runner in runners() {
        let last_of_a = rows(&mut runner, &a, &[6], &[0, 1])[5].clone();
        let all_of_c = rows(&mut runner, &c, &[5], &[0, 1]);
        let batch =
            [slice(&a, &[0, 1], LogitRows::Last), slice(&b, &[2], LogitRows::None), slice(&c, &[3, 4], LogitRows::All)];
        assert_eq!(forward(&mut runner, &batch), [vec![last_of_a], all_of_c].concat());
        assert!(forward(&mut runner, &[slice(&b, &[2], LogitRows::None)]).is_empty());
        assert!(forward(&mut runner, &[]).is_empty());
    }
}

#[test]
fn sequences_may_share_the_blocks_of_a_common_prefix() {
    let prefix = tokens(4, 32);
    let (a, b) = ([prefix.clone(), vec![10, 11]].concat(), [prefix.clone(), vec![12]].concat());
    for mut runner in runners() {
        let alone = [&a, &b].map(|tokens| rows(&mut runner, tokens, &[tokens.len()], &[20, 21, 22])[32..].to_vec());
        rows(&mut runner, &prefix, &[32], &[0, 1]);
        let slice = |tokens, block_table| SequenceSlice { tokens, start: 32, block_table, logits: LogitRows::All };
        let shared = forward(&mut runner, &[slice(&a[32..], &[0, 1, 2]), slice(&b[32..], &[0, 1, 3])]);
        assert_eq!(shared, alone.concat());
    }
}

#[test]
fn a_batch_that_contradicts_the_cache_is_an_error() {
    let mut runner = runner(&TinyModel::new(GgmlDType::F32), Compute::F32);
    let slice = |tokens, start, block_table| SequenceSlice { tokens, start, block_table, logits: LogitRows::Last };
    let beyond = [NUM_BLOCKS as u32];
    for (batch, expected) in [
        (slice(&[262], 0, &[0]), "token 262"),
        (slice(&[1], 0, &beyond), "block 64"),
        (slice(&[1], BLOCK_SIZE, &[0]), "2 needed"),
        (slice(&[1], 128, &[0; 9]), "beyond the context"),
    ] {
        let error = runner.forward(&[batch], &mut Output::default()).unwrap_err();
        assert!(matches!(&error, RunnerError::InvalidBatch(reason) if reason.contains(expected)), "{error}");
    }
}
