//! Ids and counts of KV blocks; never memory.
//!
//! A [`BlockTable`] owns its blocks: only the pool fills one, it cannot be cloned, and [`BlockPool::release`] consumes
//! it. So a block is free or in exactly one table, and freeing twice does not compile. `grow` and `release` are the
//! only places where ownership changes: blocks shared by prefix would be looked up in the first and counted down in
//! the second.

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

/// All blocks of the KV budget.
#[derive(Debug)]
pub(crate) struct BlockPool {
    free: Vec<u32>,
    total: u32,
}

impl BlockPool {
    /// A pool of the blocks `0..total`, all free.
    pub(crate) fn new(total: u32) -> Self {
        // A stack, so that low ids and blocks freed last are used first.
        Self { free: (0..total).rev().collect(), total }
    }

    /// Blocks in no table.
    pub(crate) fn free(&self) -> u32 {
        // No more than `total`.
        self.free.len() as u32
    }

    /// All blocks.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    /// Grows `table` to `blocks`, or answers false and changes nothing when too few are free.
    #[must_use]
    pub(crate) fn grow(&mut self, table: &mut BlockTable, blocks: u32) -> bool {
        let missing = blocks.saturating_sub(table.len());
        if missing > self.free() {
            return false;
        }
        let kept = self.free.len() - missing as usize;
        table.ids.extend(self.free.drain(kept..).rev());
        true
    }

    /// Takes back every block of `table`.
    pub(crate) fn release(&mut self, table: BlockTable) {
        self.free.extend(table.ids.into_iter().rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn every_block_is_free_or_in_exactly_one_table(
            total in 1u32..40,
            calls in prop::collection::vec((0usize..6, 0u32..12), 0..60),
        ) {
            let mut pool = BlockPool::new(total);
            let mut tables: Vec<BlockTable> = (0..6).map(|_| BlockTable::default()).collect();
            for (owner, blocks) in calls {
                if blocks == 0 {
                    pool.release(std::mem::take(&mut tables[owner]));
                } else {
                    let before = (tables[owner].len(), pool.free());
                    let grown = pool.grow(&mut tables[owner], blocks);
                    prop_assert_eq!(grown, blocks <= before.0 + before.1);
                }
                let mut seen: Vec<u32> = pool.free.clone();
                seen.extend(tables.iter().flat_map(|table| table.ids()));
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..total).collect::<Vec<_>>());
            }
        }
    }
}
