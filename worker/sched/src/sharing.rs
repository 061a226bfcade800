//! Blocks that several running requests hold are charged to one of them.

/// Charges each block to the first table that names it; answers for each table the blocks that are charged before.
pub(crate) fn charged_before<'a>(
    tables: impl Iterator<Item = &'a [u32]>,
    num_blocks: u32,
) -> impl Iterator<Item = u32> {
    let mut charged = vec![false; num_blocks as usize];
    tables.map(move |table| {
        let before = table.iter().filter(|&&id| std::mem::replace(&mut charged[id as usize], true));
        // No more than `num_blocks`.
        before.count() as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_in_the_first_table_that_has_it() {
        let tables: [&[u32]; 4] = [&[5, 1], &[5, 1, 2], &[4], &[5, 3]];
        assert_eq!(charged_before(tables.into_iter(), 6).collect::<Vec<_>>(), [0, 2, 0, 1]);
    }
}
