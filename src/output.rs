//! Results on stdout; the only place that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, Table, presets};
use datafusion::parquet::arrow::ArrowWriter;

use crate::cli::Output;

/// A line on stdout.
pub fn line(text: &str) {
    println!("{text}");
}

/// A message for a person, on stderr.
pub fn message(text: &str) {
    eprintln!("{text}");
}

/// Bytes on stdout, as they are.
pub fn bytes(bytes: &[u8]) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(bytes)
}

/// Rows on stdout.
pub fn rows(batches: &[RecordBatch], output: Output) -> anyhow::Result<()> {
    let stdout = std::io::stdout().lock();
    match output {
        Output::Json => {
            let mut writer = arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, arrow::json::writer::LineDelimited>(stdout);
            for batch in batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
        Output::Csv => {
            let mut writer = arrow::csv::Writer::new(stdout);
            for batch in batches {
                writer.write(batch)?;
            }
        }
        Output::Table => table(stdout, batches)?,
    }
    Ok(())
}

fn table(mut out: impl Write, batches: &[RecordBatch]) -> anyhow::Result<()> {
    let Some(first) = batches.first() else { return Ok(()) };
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(first.schema().fields().iter().map(|f| f.name().clone()));
    let options = FormatOptions::default().with_null("∅");
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|c| Cell::new(c.value(row))));
        }
    }
    writeln!(out, "{table}")?;
    Ok(())
}

/// The rows as `<stem>.csv` and `<stem>.parquet`.
pub fn write_files(stem: &Path, batches: &[RecordBatch]) -> anyhow::Result<()> {
    let mut csv = arrow::csv::Writer::new(File::create(stem.with_extension("csv"))?);
    for batch in batches {
        csv.write(batch)?;
    }
    let Some(first) = batches.first() else { return Ok(()) };
    let mut parquet = ArrowWriter::try_new(File::create(stem.with_extension("parquet"))?, first.schema(), None)?;
    for batch in batches {
        parquet.write(batch)?;
    }
    parquet.close()?;
    Ok(())
}
