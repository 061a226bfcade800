//! `experiment`.

use crate::experiment::campaign::{measure, write};
use crate::experiment::options::ExperimentOptions;
use crate::experiment::table;

#[expect(clippy::print_stdout, reason = "the report is the output of this command")]
pub(super) fn run(options: &ExperimentOptions) -> anyhow::Result<()> {
    // One thread: the cores are the worker's.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measure(options))?;
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", table::text(&report)),
    }
    for path in write(&report, options)? {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
