//! Colours of figures.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

pub(crate) use plotters::style::RGBColor;

/// Text, and lines of the truth. The page swaps this colour and [`GRID`] on dark ground.
pub(crate) const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
/// Lines of the grid.
pub(crate) const GRID: RGBColor = RGBColor(0xd8, 0xde, 0xe4);
/// Colours that stay distinct on light and dark ground, also by most colour-blind readers (Okabe and Ito, Color Universal
/// Design, 2008; then darker and lighter relatives).
pub(crate) const PALETTE: [RGBColor; 10] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x8c, 0x6d, 0x31),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x7f, 0x7f, 0x7f),
    RGBColor(0xbc, 0xbd, 0x22),
];

/// Places in [`PALETTE`] of the models there are.
const MODELS: [(&str, usize); 10] = [
    ("survival", 0),
    ("length-only", 1),
    ("gru", 2),
    ("mlp", 3),
    ("forest", 4),
    ("lstm", 5),
    ("logistic", 6),
    ("transformer", 7),
    ("prior", 8),
    ("threshold", 9),
];

/// Places in [`PALETTE`] of the policies that `experiment` compares by default, and of short names for them.
const POLICIES: [(&str, usize); 12] = [
    ("boost+peak(0.8)+least-cost", 0),
    ("boost+peak+least-cost", 0),
    ("fcfs+past-future", 1),
    ("boost+risk+least-cost", 2),
    ("sjf-pred", 3),
    ("srpt-pred(0)+peak(0.8)+least-cost", 4),
    ("srpt-pred", 5),
    ("fcfs+conservative", 6),
    ("fcfs+new-token-ratio", 7),
    ("fcfs+aggressive", 8),
    ("fcfs", 8),
    ("srpt-oracle+oracle-peak", 9),
];

/// The colours of the models or policies `names` in one figure. Known names always have the same colour. Another name has the one
/// that its letters choose, or the next that is still free.
pub(crate) fn colors<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<RGBColor> {
    let names: Vec<&str> = names.into_iter().collect();
    let known = |name: &str| MODELS.iter().chain(&POLICIES).find(|(known, _)| *known == name).map(|(_, place)| *place);
    let mut taken: Vec<usize> = names.iter().filter_map(|name| known(name)).collect();
    let mut place = |name: &str| {
        if let Some(place) = known(name) {
            return place;
        }
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let first = (hasher.finish() % PALETTE.len() as u64) as usize;
        let free = (0..PALETTE.len()).map(|i| (first + i) % PALETTE.len()).find(|place| !taken.contains(place));
        let place = free.unwrap_or(first);
        taken.push(place);
        place
    };
    names.iter().map(|name| PALETTE[place(name)]).collect()
}

#[cfg(test)]
mod tests {
    use eoscast_forecast::models::ModelKind;

    use super::*;

    #[test]
    fn a_known_name_has_one_colour_whatever_stands_beside_it() {
        let alone = colors(["fcfs+past-future"]);
        assert_eq!(colors(["x", "sjf-pred", "fcfs+past-future"])[2], alone[0]);
        assert_eq!(colors(["sjf-pred", "y"])[1], colors(["y"])[0]);
    }

    #[test]
    fn up_to_ten_names_have_ten_colours() {
        let unknown: Vec<String> = (0..10).map(|i| format!("order-{i}")).collect();
        let models = ModelKind::ALL.map(ModelKind::as_str);
        for mut colors in [colors(unknown.iter().map(String::as_str)), colors(models)] {
            colors.sort_by_key(|color| (color.0, color.1, color.2));
            colors.dedup();
            assert_eq!(colors.len(), 10);
        }
        assert_eq!(colors(["a"; 30]).len(), 30);
    }
}
