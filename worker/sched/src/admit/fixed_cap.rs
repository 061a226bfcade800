//! At most so many run, whatever they hold: crude, and hard to beat once the number is tuned to the load.

pub(super) fn fits(running: usize, cap: u32) -> bool {
    running < cap as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_may_be_taken() {
        assert!(fits(3, 4));
        assert!(!fits(4, 4));
    }
}
