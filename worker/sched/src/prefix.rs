//! What a full block holds, as a hash: equal hashes mean equal tokens, from the start of the sequence to the block's end.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

/// Identity of a full block: of its tokens and all before them, so that it stands for the block's KV entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockHash(u128);

impl BlockHash {
    /// Stand-ins for the blocks of a sequence from number `first` on, for a simulator that knows lengths and no tokens.
    /// Only `owner` finds them again, after it was preempted.
    pub fn unshared(owner: u64, first: usize) -> impl Iterator<Item = Self> {
        (first as u128..).map(move |index| Self(u128::from(owner) << 64 | index))
    }
}

/// Hashes the blocks of a sequence, each chained to the one before: `hash(parent, tokens)`.
///
/// Two keyed 64-bit hashes make one of 128 bits. Who knew the keys could look for two prompts that collide and so have
/// a reply computed from another's KV entries; std's [`RandomState`] is a pseudorandom function (SipHash) with random
/// keys, so that even a chosen pair of blocks collides with probability 2^-128.
#[derive(Clone)]
pub struct PrefixHasher<S = RandomState> {
    block_size: usize,
    halves: [S; 2],
}

impl<S: BuildHasher> PrefixHasher<S> {
    /// A hasher of blocks of `block_size` tokens (at least 1), with two differently keyed hash functions.
    pub fn new(block_size: u32, halves: [S; 2]) -> Self {
        Self { block_size: block_size.max(1) as usize, halves }
    }

    /// Hashes of the full blocks of `tokens` that follow those in `known`, the hashes of its first blocks.
    pub fn further<'a>(
        &'a self,
        known: &[BlockHash],
        tokens: &'a [u32],
    ) -> impl Iterator<Item = BlockHash> + use<'a, S> {
        let blocks = tokens.chunks_exact(self.block_size).skip(known.len());
        blocks.scan(known.last().copied(), |parent, block| {
            let [high, low] = self.halves.each_ref().map(|half| half.hash_one((*parent, block)));
            *parent = Some(BlockHash(u128::from(high) << 64 | u128::from(low)));
            *parent
        })
    }
}

impl<S> fmt::Debug for PrefixHasher<S> {
    /// Without the keys, which are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefixHasher").field("block_size", &self.block_size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hasher() -> PrefixHasher {
        PrefixHasher::new(2, [RandomState::new(), RandomState::new()])
    }

    fn hashes(hasher: &PrefixHasher, tokens: &[u32]) -> Vec<BlockHash> {
        hasher.further(&[], tokens).collect()
    }

    #[test]
    fn a_block_is_known_by_its_tokens_and_all_before_them() {
        let hasher = hasher();
        let [first, second] = hashes(&hasher, &[1, 2, 3, 4, 5])[..] else { panic!("two full blocks") };
        assert_eq!(hashes(&hasher, &[1, 2, 3, 4]), [first, second]);
        assert_eq!(hashes(&hasher, &[1, 2, 3, 5])[0], first);
        assert_ne!(hashes(&hasher, &[1, 2, 3, 5])[1], second);
        // The same tokens elsewhere are another block.
        assert_ne!(hashes(&hasher, &[3, 4])[0], second);
        assert_ne!(hashes(&hasher, &[1, 2, 1, 2])[1], first);
    }

    #[test]
    fn both_halves_tell_blocks_apart() {
        let hasher = hasher();
        let [BlockHash(a), BlockHash(b)] = [hashes(&hasher, &[1, 2])[0], hashes(&hasher, &[1, 3])[0]];
        assert!(a >> 64 != b >> 64 && a as u64 != b as u64 && a >> 64 != u128::from(a as u64));
    }

    #[test]
    fn the_keys_are_not_shown() {
        assert_eq!(format!("{:?}", hasher()), "PrefixHasher { block_size: 2, .. }");
    }

    proptest! {
        #[test]
        fn hashing_as_tokens_come_is_hashing_at_once(tokens in prop::collection::vec(any::<u32>(), 0..40)) {
            let hasher = hasher();
            let mut known = Vec::new();
            for end in 0..=tokens.len() {
                known.extend(hasher.further(&known, &tokens[..end]));
            }
            prop_assert_eq!(known, hashes(&hasher, &tokens));
        }
    }
}
