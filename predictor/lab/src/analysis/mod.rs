//! Shows what a log says: figures as SVG and PNG, and one HTML page that explains them.
//!
//! - [`trace`]: reads step lines of any log with the twelve classic fields
//! - [`usefulness`]: how well each signal alone predicts the end; [`information`]: mutual information
//! - [`figures`]: the figures; [`png`]: the same as PNG
//! - [`page`]: the report

pub(crate) mod figures;
#[cfg(test)]
mod foreign_tests;
pub(crate) mod information;
pub(crate) mod page;
pub(crate) mod png;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod trace;
pub(crate) mod usefulness;

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::chart::figure::{Figure, on_white};
use crate::evaluation::report::EvaluationReport;
use page::{Drawn, Page};
use trace::Traces;

/// Name of the report's page.
pub(crate) const PAGE: &str = "report.html";

/// Draws every figure of `traces`, and of `evaluation` if there is one, into the folder `out`; gives the page's path. `source` says
/// where the log lies; `progress` is called after each figure with how many there are.
///
/// # Errors
/// When a figure cannot be drawn or a file cannot be written.
pub(crate) fn report(
    traces: &Traces,
    evaluation: Option<&EvaluationReport>,
    source: &str,
    out: &Path,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<PathBuf> {
    let signal = figures::of_signal(&traces.traces);
    let useful = usefulness::usefulness(&traces.traces);
    let tasks = figures::of_tasks(&traces.traces, &useful);
    let models = evaluation.map(figures::of_models).unwrap_or_default();
    let total = signal.len() + tasks.len() + models.len();
    std::fs::create_dir_all(out).with_context(|| format!("{} cannot be made; choose another --out", out.display()))?;
    let renderer = png::Renderer::default();
    let mut draw = |figures: Vec<Figure>| -> anyhow::Result<Vec<Drawn>> {
        let mut all = vec![];
        for figure in figures {
            let drawn = Drawn::new(figure)?;
            write(out, &format!("{}.svg", drawn.name), on_white(&drawn.svg).as_bytes())?;
            write(out, &format!("{}.png", drawn.name), &renderer.png(&drawn.svg)?)?;
            progress(total);
            all.push(drawn);
        }
        Ok(all)
    };
    let (signal, tasks, models) = (draw(signal)?, draw(tasks)?, draw(models)?);
    let page = Page {
        source: source.to_owned(),
        traces,
        signal: &signal,
        tasks: &tasks,
        signals: usefulness::table(&useful),
        models: evaluation.map(|evaluation| (evaluation, models.as_slice())),
    };
    write(out, PAGE, page.html()?.as_bytes())?;
    Ok(out.join(PAGE))
}

fn write(out: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = out.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("{} cannot be written; choose another --out", path.display()))
}
