//! Shortest predicted length first. The length is predicted once, at arrival ([`Order::keeps_forecast`]): what becomes
//! known while a request runs does not move it, and nothing ages, as in the literature it stands for.
//!
//! [`Order::keeps_forecast`]: super::Order::keeps_forecast

use crate::view::Outlook;

pub(super) fn score(at_arrival: &Outlook) -> f64 {
    f64::from(at_arrival.mean_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Forecast;
    use crate::view::tests::view;

    #[test]
    fn the_shortest_predicted_goes_first_whoever_came_first() {
        let predicted = |key, length| score(&Outlook::new(view(key), Some(Forecast::certain(length))));
        assert!(predicted(9, 20) < predicted(1, 30));
    }
}
