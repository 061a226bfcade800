//! First come, first served.

use crate::view::RequestView;

pub(super) fn score(view: &RequestView) -> f64 {
    view.request.arrival
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    #[test]
    fn an_earlier_arrival_goes_first() {
        assert!(score(&view(1)) < score(&view(2)));
    }
}
