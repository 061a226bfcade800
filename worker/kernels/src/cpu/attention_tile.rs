//! The inner loops of attention: a few query vectors against one KV head of one sequence, in two passes.

use super::kv::{KeysValues, KvElement, STRIP};
use super::output::Output;
use crate::simd::{Kernel, LANES, Simd};
use std::ops::Range;

/// Query vectors (row and head) that share one pass over keys and values: with two vectors each, 12 accumulators.
pub(crate) const TILE_QUERIES: usize = 6;

/// Positions between those that are used and those that are asked for.
const PREFETCHED_POSITIONS: usize = 2 * STRIP;

/// One head of one row.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) q: &'a [f32],
    /// First position that it sees.
    pub(crate) first: usize,
    /// End of the positions that it sees: after its own.
    pub(crate) positions: usize,
    /// Where its result goes.
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// One KV head of one sequence.
pub(crate) struct Cache<'a, T> {
    pub(crate) data: &'a KeysValues<T>,
    pub(crate) table: &'a [u32],
    pub(crate) block_size: usize,
    pub(crate) block_len: usize,
    /// Start of the head in a block.
    pub(crate) head_start: usize,
    pub(crate) head_dim: usize,
}

impl<T> Cache<'_, T> {
    /// Where the strip from a position on starts, in keys and in values.
    #[inline(always)]
    fn strip(&self, position: usize) -> usize {
        let block = self.table[position / self.block_size] as usize;
        block * self.block_len + self.head_start + position % self.block_size * self.head_dim
    }

    /// The part of `data` for the strip from a position on.
    #[inline(always)]
    fn strip_of<'d>(&self, data: &'d [T], position: usize) -> &'d [T] {
        &data[self.strip(position)..][..STRIP * self.head_dim]
    }

    /// The strip to ask for while the one at `position` is used. The blocks of a sequence lie apart, so the processor does not
    /// foresee where the next one is.
    #[inline(always)]
    fn strip_ahead<'d>(&self, data: &'d [T], position: usize, end: usize) -> &'d [T] {
        let ahead = position + PREFETCHED_POSITIONS;
        self.strip_of(data, if ahead < end { ahead } else { position })
    }
}

/// At most [`TILE_QUERIES`] queries, and the space to work in.
pub(crate) struct Tile<'a, T> {
    pub(crate) cache: Cache<'a, T>,
    pub(crate) queries: &'a [Query<'a>],
    pub(crate) scale: f32,
    pub(crate) scratch: &'a mut Vec<f32>,
    pub(crate) out: &'a Output<'a>,
}

impl<T: KvElement> Kernel for Tile<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.queries.len() {
            1 => self.attend::<S, 1>(s),
            2 => self.attend::<S, 2>(s),
            3 => self.attend::<S, 3>(s),
            4 => self.attend::<S, 4>(s),
            5 => self.attend::<S, 5>(s),
            _ => self.attend::<S, TILE_QUERIES>(s),
        }
    }
}

impl<T: KvElement> Tile<'_, T> {
    #[inline(always)]
    fn attend<S: Simd, const N: usize>(self, s: S) {
        let Self { cache, queries, scale, scratch, out } = self;
        let head_dim = cache.head_dim;
        // Scores start at a whole strip, so that the lanes of a sum do not depend on the queries beside.
        let first = queries.iter().map(|query| query.first).min().unwrap_or(0);
        let first = first - first % STRIP;
        let longest = queries.iter().map(|query| query.positions).max().unwrap_or(0);
        let stride = (longest - first).next_multiple_of(STRIP);
        scratch.clear();
        scratch.resize(N * (stride + 2 * head_dim), 0.0);
        let (scores, rest) = scratch.split_at_mut(N * stride);
        let (sums, q) = rest.split_at_mut(N * head_dim);

        let q = q.as_chunks_mut::<N>().0;
        for (dim, q) in q.iter_mut().enumerate() {
            for n in 0..N {
                q[n] = queries[n].q[dim];
            }
        }
        for position in (first..longest).step_by(STRIP) {
            let keys = cache.strip_of(&cache.data.keys, position);
            let strip = score_strip(s, keys, cache.strip_ahead(&cache.data.keys, position, longest), q);
            for (n, [low, high]) in strip.iter().enumerate() {
                let at = scores[n * stride + position - first..][..STRIP].as_chunks_mut::<LANES>().0;
                s.store(*low, &mut at[0]);
                s.store(*high, &mut at[1]);
            }
        }

        let mut masses = [0.0; N];
        for (n, mass) in masses.iter_mut().enumerate() {
            let seen = queries[n].first - first..queries[n].positions - first;
            *mass = exponentiate(s, &mut scores[n * stride..][..stride], seen, scale);
        }

        let shortest = queries.iter().map(|query| query.positions).min().unwrap_or(0);
        let scores = scores.as_chunks::<STRIP>().0;
        for (strip, position) in (first..longest).step_by(STRIP).enumerate() {
            let values = cache.strip_of(&cache.data.values, position);
            let ahead = cache.strip_ahead(&cache.data.values, position, longest);
            if position + STRIP <= shortest || shortest == longest {
                let mut weights = [&scores[strip]; N];
                for n in 1..N {
                    weights[n] = &scores[n * stride / STRIP + strip];
                }
                add_strip::<S, T, N>(s, [values, ahead], weights, longest - position, sums);
            } else {
                // A weight of zero is not left out by multiplying: the value may be of a later chunk, even not finite.
                for (n, sums) in sums.chunks_exact_mut(head_dim).enumerate() {
                    let seen = queries[n].positions.saturating_sub(position).min(STRIP);
                    add_strip::<S, T, 1>(s, [values, ahead], [&scores[n * stride / STRIP + strip]], seen, sums);
                }
            }
        }

        for ((query, sums), mass) in queries.iter().zip(sums.chunks_exact(head_dim)).zip(masses) {
            let inverse = s.splat(1.0 / mass);
            for (part, sum) in sums.as_chunks::<LANES>().0.iter().enumerate() {
                out.write(query.row, query.column + part * LANES, s.lanes(s.mul(s.load(sum), inverse)));
            }
        }
    }
}

/// `q·k` for the positions of a strip, asking for `ahead` meanwhile; `q` is stored dimension by dimension.
#[inline(always)]
fn score_strip<S: Simd, T: KvElement, const N: usize>(
    s: S,
    keys: &[T],
    ahead: &[T],
    q: &[[f32; N]],
) -> [[S::F32; 2]; N] {
    let mut sums = [[s.splat(0.0); 2]; N];
    let (keys, ahead) = (keys.as_chunks::<STRIP>().0, ahead.as_chunks::<STRIP>().0);
    for ((q, keys), ahead) in q.iter().zip(keys).zip(ahead) {
        s.prefetch(ahead);
        let keys = keys.as_chunks::<LANES>().0;
        let (low, high) = (T::load(s, &keys[0]), T::load(s, &keys[1]));
        for n in 0..N {
            let q = s.splat(q[n]);
            sums[n] = [s.fma(low, q, sums[n][0]), s.fma(high, q, sums[n][1])];
        }
    }
    sums
}

/// Turns the scores `seen` into `e^(scale (score - largest))`, those before into zeros, and returns their sum.
#[inline(always)]
fn exponentiate<S: Simd>(s: S, scores: &mut [f32], seen: Range<usize>, scale: f32) -> f32 {
    let scores = &mut scores[..seen.end.next_multiple_of(LANES)];
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    let scores = scores.as_chunks_mut::<LANES>().0;
    let mut largest = s.splat(f32::NEG_INFINITY);
    for part in &*scores {
        largest = s.max(s.load(part), largest);
    }
    let largest = s.splat(s.largest(largest));
    let scale = s.splat(scale);
    let mut mass = s.splat(0.0);
    for part in scores {
        let weight = s.exp(s.mul(s.sub(s.load(part), largest), scale));
        s.store(weight, part);
        mass = s.add(mass, weight);
    }
    s.sum(mass)
}

/// Adds weight times value, for the first `count` positions of a strip, to the `N` rows of `sums`; asks for another strip meanwhile.
#[inline(always)]
fn add_strip<S: Simd, T: KvElement, const N: usize>(
    s: S,
    [values, ahead]: [&[T]; 2],
    weights: [&[f32; STRIP]; N],
    count: usize,
    sums: &mut [f32],
) {
    let head_dim = values.len() / STRIP;
    let paired = head_dim - head_dim % STRIP;
    for dim in (0..paired).step_by(STRIP) {
        add_columns::<S, T, N, 2>(s, [values, ahead], dim, weights, count, sums);
    }
    if paired < head_dim {
        add_columns::<S, T, N, 1>(s, [values, ahead], paired, weights, count, sums);
    }
}

/// [`add_strip`] for `W` vectors of dimensions.
#[inline(always)]
fn add_columns<S: Simd, T: KvElement, const N: usize, const W: usize>(
    s: S,
    [values, ahead]: [&[T]; 2],
    dim: usize,
    weights: [&[f32; STRIP]; N],
    count: usize,
    sums: &mut [f32],
) {
    let head_dim = values.len() / STRIP;
    let mut totals = [[s.splat(0.0); W]; N];
    for n in 0..N {
        let from = sums[n * head_dim + dim..][..W * LANES].as_chunks::<LANES>().0;
        for part in 0..W {
            totals[n][part] = s.load(&from[part]);
        }
    }
    for position in 0..count.min(STRIP) {
        let at = position * head_dim + dim;
        s.prefetch(&ahead[at]);
        let parts = values[at..][..W * LANES].as_chunks::<LANES>().0;
        let mut value = [s.splat(0.0); W];
        for part in 0..W {
            value[part] = T::load(s, &parts[part]);
        }
        for n in 0..N {
            let weight = s.splat(weights[n][position]);
            for part in 0..W {
                totals[n][part] = s.fma(weight, value[part], totals[n][part]);
            }
        }
    }
    for n in 0..N {
        let to = sums[n * head_dim + dim..][..W * LANES].as_chunks_mut::<LANES>().0;
        for part in 0..W {
            s.store(totals[n][part], &mut to[part]);
        }
    }
}
