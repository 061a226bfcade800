//! The requests of a log, as `train`, `evaluate` and `estimate` read them.

use std::path::Path;

use anyhow::Context;
use eoscast_forecast::fitting::dataset::{Dataset, Selection, Wanted};
use eoscast_log::location::Location;
use eoscast_log::reader::BadLines;

use crate::progress;

/// Reads a dataset with a progress bar, and reports on stderr what is wrong with it.
pub(super) fn load(data: &Path, model_name: Option<&str>, bad_lines: BadLines) -> anyhow::Result<Dataset> {
    let bar = progress::bytes("reading", Location::parse(data).bytes().with_context(|| data.display().to_string())?);
    let model = model_name.map_or(Wanted::Only, Wanted::Named);
    let selection = Selection { model, bad_lines, ..Selection::default() };
    let dataset = Dataset::load(data, &selection, |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    for note in dataset.intake.notes() {
        eprintln!("{note}");
    }
    eprintln!("{} requests of {}, {} tokens", dataset.samples.len(), dataset.model, dataset.tokens());
    Ok(dataset)
}
