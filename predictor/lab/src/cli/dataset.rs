//! The requests of a log, as `train`, `evaluate` and `estimate` read them.

use std::path::Path;

use eoscast_cli::progress::Progress;
use eoscast_forecast::fitting::dataset::{Dataset, Selection, Wanted};
use eoscast_log::reader::BadLines;

/// Reads a dataset with a progress bar, and reports on stderr what is wrong with it.
pub(super) fn load(data: &Path, model_name: Option<&str>, bad_lines: BadLines) -> anyhow::Result<Dataset> {
    let model = model_name.map_or(Wanted::Only, Wanted::Named);
    let selection = Selection { model, bad_lines, ..Selection::default() };
    let bar = Progress::bytes("reading", Dataset::bytes(data, &selection)?);
    let dataset = Dataset::load(data, &selection, |bytes| bar.add(bytes))?;
    bar.finish();
    for note in dataset.intake.notes() {
        eprintln!("{note}");
    }
    eprintln!("{} requests of {}, {} tokens", dataset.samples.len(), dataset.model, dataset.tokens());
    Ok(dataset)
}
