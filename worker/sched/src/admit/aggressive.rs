//! Blocks for this step are enough; whoever does not fit later is preempted. The floor under every other rule.

pub(super) fn fits(step_blocks: u32, free_blocks: u32) -> bool {
    step_blocks <= free_blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_free_block_may_be_taken() {
        assert!(fits(3, 3));
        assert!(!fits(4, 3));
    }
}
