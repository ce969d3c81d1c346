//! `metadata.csv`: a header line with `file_name` and caption columns, then a row a picture.

use std::path::Path;

use super::store::Store;
use super::table::{Row, Table};
use crate::{DataError, Result};

pub(super) fn read(store: &Store, file: usize) -> Result<Table> {
    let text = store.read_text(file)?;
    let path = store.path(file);
    let (columns, records) = records(&path, &text)?;
    let Some(name_column) = columns.iter().position(|c| c == "file_name") else {
        return Err(Table::no_file_name(store, file, 1, &columns));
    };
    let rows = records.into_iter().map(|record| Row {
        file_name: record[name_column].trim().to_string(),
        texts: columns.iter().cloned().zip(record.into_iter().map(|text| vec![text])).collect(),
    });
    let rows = rows.collect();
    Ok(Table { file, columns, rows })
}

/// The names in the first line of a CSV text, and the fields of the others, as many each.
pub(crate) fn records(path: &Path, text: &str) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let at = |e: &csv::Error| {
        let line = e.position().map_or(1, |p| p.line() as usize);
        let message = match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} fields, but the header has {expected_len}; put quotes around a text with commas")
            }
            _ => e.to_string(),
        };
        DataError::line(path, line, message)
    };
    let columns = reader.headers().map_err(|e| at(&e))?.iter().map(|c| c.trim().to_string()).collect();
    let fields = |record: csv::StringRecord| record.iter().map(str::to_string).collect();
    let records = reader.records().map(|record| record.map(fields).map_err(|e| at(&e))).collect::<Result<_>>()?;
    Ok((columns, records))
}
