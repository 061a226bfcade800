//! The future peak of KV use of a batch whose remaining lengths are given.
//!
//! In step j = 1, 2, ... from now a request that knows h tokens holds h + j - 1 of them, until it samples its last
//! token in step s. With blocks of B tokens the batch holds, in step j,
//!
//! ```text
//! use(j) = sum over requests with s >= j of ceil((h + j - 1) / B)
//! ```
//!
//! Between two endings nobody leaves and every term grows, so `use` does not fall: its maximum lies in the last step of
//! some request, and as many sums as there are requests give the peak. (Gong et al., "Past-Future Scheduler for LLM
//! Serving under SLA Guarantees", ASPLOS'25, has the same without blocks: longest first, max of i * b_i + sum of the
//! first i held.)
//!
//! All sums in one sweep: with x = h + B - 2, ceil((h + j - 1) / B) = floor((x + j) / B) = x / B + j / B + carry in
//! whole divisions, where the carry is 1 if x % B + j % B >= B. From the longest request to the shortest it is enough
//! to keep the sum of x / B, the count, and the residues x % B in order: O(m log m) for m requests. One more request
//! then changes each sum by one term, so that testing or inserting it is O(m).

/// KV use to come of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Tokens held in the next step, at least 1; one more in each step after it.
    pub(crate) held: u32,
    /// Steps until it ends, at least 1.
    pub(crate) steps: u32,
}

impl Footprint {
    fn blocks_in_step(&self, step: u32, block_size: u32) -> u64 {
        (u64::from(self.held) + u64::from(step) - 1).div_ceil(u64::from(block_size))
    }
}

#[derive(Clone, Copy, Debug)]
struct RequestEnd {
    footprint: Footprint,
    /// Blocks of the whole batch in the last step of this request.
    blocks: u64,
}

/// The batch's use in each step in which a request ends.
#[derive(Clone, Debug)]
pub(crate) struct PeakProfile {
    block_size: u32,
    /// By steps, ascending.
    endings: Vec<RequestEnd>,
    /// Scratch of `reset`, kept for its memory.
    residues: Vec<u64>,
}

impl PeakProfile {
    /// The profile of an empty batch; `block_size` in tokens, at least 1.
    pub(crate) fn new(block_size: u32) -> Self {
        Self { block_size: block_size.max(1), endings: Vec::new(), residues: Vec::new() }
    }

    /// Starts over with a batch.
    pub(crate) fn reset(&mut self, batch: impl IntoIterator<Item = Footprint>) {
        self.endings.clear();
        self.endings.extend(batch.into_iter().map(|footprint| RequestEnd { footprint, blocks: 0 }));
        self.endings.sort_unstable_by_key(|ending| ending.footprint.steps);
        self.residues.clear();
        let size = u64::from(self.block_size);
        let mut whole = 0;
        for same_end in self.endings.chunk_by_mut(|a, b| a.footprint.steps == b.footprint.steps).rev() {
            for RequestEnd { footprint, .. } in &*same_end {
                let x = u64::from(footprint.held) + size - 2;
                whole += x / size;
                let at = self.residues.partition_point(|&residue| residue < x % size);
                self.residues.insert(at, x % size);
            }
            let step = u64::from(same_end[0].footprint.steps);
            let alive = self.residues.len();
            let carries = alive - self.residues.partition_point(|&residue| residue + step % size < size);
            let blocks = whole + alive as u64 * (step / size) + carries as u64;
            same_end.iter_mut().for_each(|ending| ending.blocks = blocks);
        }
    }

    /// The most blocks the batch will hold at once.
    #[cfg(test)]
    fn peak(&self) -> u64 {
        self.endings.iter().map(|ending| ending.blocks).max().unwrap_or(0)
    }

    /// The most blocks the batch would hold at once with one more request.
    pub(crate) fn peak_with(&self, new: Footprint) -> u64 {
        let (until, beyond) = self.endings.split_at(self.first_ending_after(new));
        let until = until.iter().map(|ending| ending.blocks + self.blocks_when(new, ending));
        let beyond = beyond.iter().map(|ending| ending.blocks);
        until.chain(beyond).max().unwrap_or(0).max(self.use_at_end_of(new))
    }

    /// Adds a request to the batch.
    pub(crate) fn insert(&mut self, new: Footprint) {
        let blocks = self.use_at_end_of(new);
        let at = self.first_ending_after(new);
        for i in 0..at {
            self.endings[i].blocks += self.blocks_when(new, &self.endings[i]);
        }
        self.endings.insert(at, RequestEnd { footprint: new, blocks });
    }

    fn first_ending_after(&self, new: Footprint) -> usize {
        self.endings.partition_point(|ending| ending.footprint.steps <= new.steps)
    }

    fn blocks_when(&self, new: Footprint, ending: &RequestEnd) -> u64 {
        new.blocks_in_step(ending.footprint.steps, self.block_size)
    }

    /// Blocks of the batch and `new` in the last step of `new`.
    fn use_at_end_of(&self, new: Footprint) -> u64 {
        let alive = self.endings.partition_point(|ending| ending.footprint.steps < new.steps);
        let others = self.endings[alive..].iter();
        let others = others.map(|other| other.footprint.blocks_in_step(new.steps, self.block_size));
        others.sum::<u64>() + new.blocks_in_step(new.steps, self.block_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Walks the batch step by step, each request on its own.
    fn brute_force(batch: &[Footprint], block_size: u32) -> u64 {
        let last = batch.iter().map(|footprint| footprint.steps).max().unwrap_or(0);
        let mut held: Vec<u64> = batch.iter().map(|footprint| u64::from(footprint.held)).collect();
        let mut peak = 0;
        for step in 1..=last {
            let mut blocks = 0;
            for (tokens, footprint) in held.iter_mut().zip(batch) {
                if footprint.steps >= step {
                    let mut covered = 0;
                    while covered < *tokens {
                        covered += u64::from(block_size);
                        blocks += 1;
                    }
                    *tokens += 1;
                }
            }
            peak = peak.max(blocks);
        }
        peak
    }

    #[test]
    fn a_long_request_and_a_short_one_peak_when_the_short_one_ends() {
        let mut profile = PeakProfile::new(1);
        profile.reset([Footprint { held: 10, steps: 3 }, Footprint { held: 5, steps: 8 }]);
        // Step 3: 12 + 7; step 8: 12.
        assert_eq!(profile.peak(), 19);
        // Ends in step 1: 10 + 5 + 4. Two steps longer than the longest: 12 + 7 + 6 in step 3.
        assert_eq!(profile.peak_with(Footprint { held: 4, steps: 1 }), 19);
        assert_eq!(profile.peak_with(Footprint { held: 4, steps: 10 }), 25);
    }

    #[test]
    fn a_token_over_a_block_takes_a_block() {
        let mut profile = PeakProfile::new(16);
        profile.reset([Footprint { held: 16, steps: 1 }]);
        assert_eq!(profile.peak(), 1);
        profile.reset([Footprint { held: 16, steps: 2 }]);
        assert_eq!(profile.peak(), 2);
    }

    fn footprints() -> impl Strategy<Value = Vec<Footprint>> {
        let footprint = (1u32..120, 1u32..90).prop_map(|(held, steps)| Footprint { held, steps });
        prop::collection::vec(footprint, 0..24)
    }

    proptest! {
        #[test]
        fn the_peak_is_that_of_the_batch_run_step_by_step(batch in footprints(), block_size in 1u32..20) {
            let mut profile = PeakProfile::new(block_size);
            profile.reset(batch.iter().copied());
            prop_assert_eq!(profile.peak(), brute_force(&batch, block_size));
        }

        #[test]
        fn testing_and_inserting_one_by_one_agree_with_the_whole(batch in footprints(), block_size in 1u32..20) {
            let mut profile = PeakProfile::new(block_size);
            for (i, &new) in batch.iter().enumerate() {
                let expected = brute_force(&batch[..=i], block_size);
                prop_assert_eq!(profile.peak_with(new), expected);
                profile.insert(new);
                prop_assert_eq!(profile.peak(), expected);
            }
        }
    }
}
