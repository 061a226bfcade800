//! [`Table`]: writes rows to a Parquet file, a batch at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::column::Column;

/// Rows that are turned into columns at once.
const BATCH_ROWS: usize = 4_096;
/// Rows of a row group, which stays in memory until it is full, encoded and packed.
const GROUP_ROWS: usize = 1 << 17;
/// Higher ones take longer and save little.
const LEVEL: i32 = 3;

/// A Parquet file that is being written. It gets its name when it is whole.
pub(super) struct Table<R> {
    columns: Vec<Column<R>>,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
    rows: Vec<R>,
    written: u64,
    path: PathBuf,
    part: PathBuf,
}

impl<R> Table<R> {
    /// Begins the file at `path`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn create(path: &Path, columns: Vec<Column<R>>) -> anyhow::Result<Self> {
        let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
            .set_max_row_group_row_count(Some(GROUP_ROWS));
        for column in &columns {
            properties = column.encoding(properties);
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part)
            .with_context(|| format!("{} cannot be written; choose another --out", path.display()))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()))?;
        Ok(Self {
            columns,
            schema,
            writer,
            rows: Vec::with_capacity(BATCH_ROWS),
            written: 0,
            path: path.to_owned(),
            part,
        })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn push(&mut self, row: R) -> anyhow::Result<()> {
        self.rows.push(row);
        if self.rows.len() == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let arrays = self.columns.iter().map(|column| column.array(&self.rows)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)?;
        self.writer.write(&batch).with_context(|| self.part.display().to_string())?;
        self.written += self.rows.len() as u64;
        self.rows.clear();
        Ok(())
    }

    /// Ends the file; gives its rows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        self.flush()?;
        self.writer.finish().with_context(|| self.part.display().to_string())?;
        std::fs::rename(&self.part, &self.path).with_context(|| self.path.display().to_string())?;
        Ok(self.written)
    }
}

impl<R> Drop for Table<R> {
    fn drop(&mut self) {
        // Once it has its name, there is nothing to remove.
        let _ = std::fs::remove_file(&self.part);
    }
}
