//! Ids and counts of KV blocks; never memory.
//!
//! A block is *held* by the tables that name it, or free; a free block is *blank*, or *idle* while it keeps the content
//! of a known hash for who comes next with the same prefix. Idle blocks are taken last, those released longest ago
//! first. A content is in at most one block, as [`BlockPool::publish`] merges copies, and a table holds the whole prefix
//! of each of its blocks, so that no block outlives the one before it.
//!
//! Only the pool fills a [`BlockTable`], it cannot be cloned, and [`BlockPool::release`] consumes it: freeing twice
//! does not compile.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::prefix::BlockHash;

/// The blocks of one request, in the order of its positions.
#[derive(Debug, Default)]
#[must_use = "a dropped table leaks its blocks: give it to BlockPool::release"]
pub(crate) struct BlockTable {
    ids: Vec<u32>,
}

impl BlockTable {
    /// Block ids: entry `i` holds the positions from `i * block_size` on.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Number of blocks.
    pub(crate) fn len(&self) -> u32 {
        // No more than the pool's `num_blocks`, which is a `u32`.
        self.ids.len() as u32
    }
}

/// How much of a prefix is in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CachedPrefix {
    /// Leading blocks whose content is present.
    pub(crate) blocks: u32,
    /// Those of them that are free, and will not be any more once they are reused.
    pub(crate) idle: u32,
}

#[derive(Clone, Debug, Default)]
struct BlockState {
    /// Tables that name it.
    holders: u32,
    /// Its content, once it is full and computed.
    hash: Option<BlockHash>,
    /// Its key in `idle`, if it is there.
    released: u64,
}

/// All blocks of the KV budget.
#[derive(Debug)]
pub(crate) struct BlockPool {
    blocks: Vec<BlockState>,
    blank: Vec<u32>,
    /// By release, the oldest first.
    idle: BTreeMap<u64, u32>,
    releases: u64,
    // Never iterated, and so without influence on plans.
    cached: HashMap<BlockHash, u32, BuildHasherDefault<DefaultHasher>>,
}

impl BlockPool {
    /// A pool of the blocks `0..total`, all blank.
    pub(crate) fn new(total: u32) -> Self {
        Self {
            blocks: vec![BlockState::default(); total as usize],
            // A stack, so that low ids and blocks freed last are used first.
            blank: (0..total).rev().collect(),
            idle: BTreeMap::new(),
            releases: 0,
            cached: HashMap::default(),
        }
    }

    /// Blocks in no table.
    pub(crate) fn free(&self) -> u32 {
        // No more than `total`.
        (self.blank.len() + self.idle.len()) as u32
    }

    /// All blocks.
    pub(crate) fn total(&self) -> u32 {
        // Made from a `u32`.
        self.blocks.len() as u32
    }

    /// The longest prefix of `hashes` that is present.
    pub(crate) fn cached_prefix(&self, hashes: &[BlockHash]) -> CachedPrefix {
        self.present(hashes).fold(CachedPrefix::default(), |prefix, id| CachedPrefix {
            blocks: prefix.blocks + 1,
            idle: prefix.idle + u32::from(self.blocks[id as usize].holders == 0),
        })
    }

    /// A table of the longest prefix of `hashes` that is present.
    pub(crate) fn reuse(&mut self, hashes: &[BlockHash]) -> BlockTable {
        let ids: Vec<u32> = self.present(hashes).collect();
        for &id in &ids {
            self.hold(id);
        }
        BlockTable { ids }
    }

    /// Grows `table` to `blocks`, or answers false and changes nothing when too few are free.
    #[must_use]
    pub(crate) fn grow(&mut self, table: &mut BlockTable, blocks: u32) -> bool {
        let missing = blocks.saturating_sub(table.len());
        if missing > self.free() {
            return false;
        }
        for _ in 0..missing {
            let Some(id) = self.blank.pop().or_else(|| self.evict()) else {
                // Not reached: so many are free.
                return false;
            };
            self.blocks[id as usize].holders = 1;
            table.ids.push(id);
        }
        true
    }

    /// Makes block `index` of `table`, which is full and computed, known as `hash`. If another block is known so, that
    /// one takes its place, and the copy is free.
    pub(crate) fn publish(&mut self, table: &mut BlockTable, index: usize, hash: BlockHash) {
        let id = table.ids[index];
        match self.cached.get(&hash) {
            Some(&present) if present != id => {
                self.hold(present);
                table.ids[index] = present;
                self.let_go(id);
            }
            Some(_) => {}
            None => {
                self.cached.insert(hash, id);
                self.blocks[id as usize].hash = Some(hash);
            }
        }
    }

    /// Takes back every block of `table`, the last first, so that no prefix is evicted before what follows it.
    pub(crate) fn release(&mut self, table: BlockTable) {
        for id in table.ids.into_iter().rev() {
            self.let_go(id);
        }
    }

    fn present(&self, hashes: &[BlockHash]) -> impl Iterator<Item = u32> {
        hashes.iter().map_while(|hash| self.cached.get(hash).copied())
    }

    fn hold(&mut self, id: u32) {
        let block = &mut self.blocks[id as usize];
        if block.holders == 0 {
            self.idle.remove(&block.released);
        }
        block.holders += 1;
    }

    fn let_go(&mut self, id: u32) {
        let block = &mut self.blocks[id as usize];
        block.holders -= 1;
        if block.holders > 0 {
            return;
        }
        if block.hash.is_some() {
            self.releases += 1;
            block.released = self.releases;
            self.idle.insert(block.released, id);
        } else {
            self.blank.push(id);
        }
    }

    /// Blanks the idle block released longest ago.
    fn evict(&mut self) -> Option<u32> {
        let (_, id) = self.idle.pop_first()?;
        if let Some(hash) = self.blocks[id as usize].hash.take() {
            self.cached.remove(&hash);
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::prefix::PrefixHasher;
    use proptest::prelude::*;

    /// Hashes of `length` one-token blocks, the first `common` of which all families have.
    fn hashes(family: u32, common: u32, length: u32) -> Vec<BlockHash> {
        let tokens: Vec<u32> = (0..length).map(|i| if i < common { 0 } else { 1 + family }).collect();
        let half = BuildHasherDefault::<DefaultHasher>::default();
        PrefixHasher::new(1, [half.clone(), half]).further(&[], &tokens).collect()
    }

    fn publish(pool: &mut BlockPool, table: &mut BlockTable, hashes: &[BlockHash]) {
        for (index, &hash) in hashes.iter().enumerate() {
            pool.publish(table, index, hash);
        }
    }

    /// A table of new blocks that are known as `hashes`.
    fn computed(pool: &mut BlockPool, hashes: &[BlockHash]) -> BlockTable {
        let mut table = pool.reuse(hashes);
        assert!(pool.grow(&mut table, hashes.len() as u32));
        publish(pool, &mut table, hashes);
        table
    }

    #[test]
    fn a_table_grows_from_low_ids_and_keeps_its_order() {
        let mut pool = BlockPool::new(4);
        let mut table = BlockTable::default();
        assert!(pool.grow(&mut table, 1) && pool.grow(&mut table, 3));
        assert_eq!(table.ids(), [0, 1, 2]);
        pool.release(table);
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn growing_past_the_free_blocks_changes_nothing() {
        let mut pool = BlockPool::new(2);
        let mut table = BlockTable::default();
        assert!(!pool.grow(&mut table, 3));
        assert_eq!((table.len(), pool.free()), (0, 2));
        pool.release(table);
    }

    #[test]
    fn a_prefix_is_shared_while_it_is_held_and_found_again_when_it_is_free() {
        let mut pool = BlockPool::new(8);
        let (one, two) = (hashes(1, 2, 3), hashes(2, 2, 4));
        let table = computed(&mut pool, &one);
        assert_eq!(pool.cached_prefix(&two), CachedPrefix { blocks: 2, idle: 0 });
        let shared = pool.reuse(&two);
        assert_eq!(shared.ids(), [0, 1]);
        pool.release(table);
        assert_eq!((pool.free(), pool.cached_prefix(&one)), (6, CachedPrefix { blocks: 3, idle: 1 }));
        pool.release(shared);
        assert_eq!((pool.free(), pool.cached_prefix(&one)), (8, CachedPrefix { blocks: 3, idle: 3 }));
    }

    #[test]
    fn blank_blocks_go_first_then_the_one_released_longest_ago_and_prefixes_last() {
        let mut pool = BlockPool::new(5);
        let (old, new) = (hashes(1, 0, 2), hashes(2, 0, 2));
        for hashes in [&old, &new] {
            let table = computed(&mut pool, hashes);
            pool.release(table);
        }
        let cached = |pool: &BlockPool| [&old, &new].map(|hashes| pool.cached_prefix(hashes).blocks);
        let mut table = BlockTable::default();
        let mut left = Vec::new();
        for blocks in 1..=5 {
            assert!(pool.grow(&mut table, blocks));
            left.push(cached(&pool));
        }
        assert_eq!(left, [[2, 2], [1, 2], [0, 2], [0, 1], [0, 0]]);
        pool.release(table);
    }

    #[test]
    fn a_prefix_that_was_used_again_outlives_one_released_before() {
        let mut pool = BlockPool::new(4);
        let (first, second) = (hashes(1, 0, 2), hashes(2, 0, 2));
        for hashes in [&first, &second, &first] {
            let table = computed(&mut pool, hashes);
            pool.release(table);
        }
        let mut table = BlockTable::default();
        assert!(pool.grow(&mut table, 2));
        assert_eq!([&first, &second].map(|hashes| pool.cached_prefix(hashes).blocks), [2, 0]);
        pool.release(table);
    }

    #[test]
    fn two_copies_of_one_content_become_one_block() {
        let mut pool = BlockPool::new(4);
        let hashes = hashes(1, 0, 2);
        let (mut one, mut two) = (BlockTable::default(), BlockTable::default());
        assert!(pool.grow(&mut one, 2) && pool.grow(&mut two, 2));
        publish(&mut pool, &mut one, &hashes);
        publish(&mut pool, &mut two, &hashes);
        assert_eq!((one.ids(), two.ids(), pool.free()), (&[0, 1][..], &[0, 1][..], 2));
        pool.release(one);
        assert_eq!(pool.free(), 2);
        pool.release(two);
        assert_eq!(pool.free(), 4);
    }

    proptest! {
        #[test]
        fn every_block_is_blank_idle_or_held_by_the_tables_that_name_it(
            total in 1u32..40,
            common in 0u32..6,
            calls in prop::collection::vec((0usize..6, 0u32..3, 0u32..12), 0..80),
        ) {
            let mut pool = BlockPool::new(total);
            // Each with the hashes of its content.
            let mut tables: Vec<(BlockTable, Vec<BlockHash>)> = (0..6).map(|_| Default::default()).collect();
            for (owner, family, blocks) in calls {
                let (table, content) = &mut tables[owner];
                if blocks == 0 {
                    pool.release(std::mem::take(table));
                } else {
                    if table.len() == 0 {
                        *content = hashes(family, common, 12);
                        let cached = pool.cached_prefix(&content[..blocks as usize]);
                        let free = pool.free();
                        *table = pool.reuse(&content[..blocks as usize]);
                        prop_assert_eq!((table.len(), pool.free()), (cached.blocks, free - cached.idle));
                    }
                    let missing = blocks.saturating_sub(table.len());
                    let fits = missing <= pool.free();
                    prop_assert_eq!(pool.grow(table, blocks), fits);
                    if fits {
                        publish(&mut pool, table, &content[..blocks as usize]);
                    }
                }
                let mut holders: BTreeMap<u32, u32> = BTreeMap::new();
                for (table, content) in &tables {
                    for (&id, &hash) in table.ids().iter().zip(content) {
                        *holders.entry(id).or_default() += 1;
                        prop_assert_eq!(pool.blocks[id as usize].hash, Some(hash), "a block with another's content");
                    }
                }
                for (id, block) in (0u32..).zip(&pool.blocks) {
                    prop_assert_eq!(block.holders, holders.get(&id).copied().unwrap_or(0));
                    prop_assert_eq!(block.hash.is_some(), block.hash.is_some_and(|hash| pool.cached[&hash] == id));
                }
                let idle = pool.idle.iter().map(|(&at, &id)| (id, pool.blocks[id as usize].released == at));
                let mut free: Vec<(u32, bool)> = idle.chain(pool.blank.iter().map(|&id| (id, true))).collect();
                free.extend(holders.keys().map(|&id| (id, true)));
                free.sort_unstable();
                prop_assert_eq!(free, (0..total).map(|id| (id, true)).collect::<Vec<_>>());
            }
        }
    }
}
