//! `metadata.csv`: a header line with `file_name` and caption columns, then a row a picture.

use super::store::Store;
use super::table::{Row, Table};
use crate::{DataError, Result};

pub(super) fn read(store: &Store, file: usize) -> Result<Table> {
    let text = store.read_text(file)?;
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let at = |e: &csv::Error| {
        let line = e.position().map_or(1, |p| p.line() as usize);
        let message = match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} fields, but the header has {expected_len}; put quotes around a text with commas")
            }
            _ => e.to_string(),
        };
        DataError::line(store.path(file), line, message)
    };
    let columns: Vec<String> = reader.headers().map_err(|e| at(&e))?.iter().map(|c| c.trim().to_string()).collect();
    let Some(name_column) = columns.iter().position(|c| c == "file_name") else {
        return Err(Table::no_file_name(store, file, 1, &columns));
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| at(&e))?;
        let texts = columns.iter().cloned().zip(record.iter().map(|text| vec![text.to_string()])).collect();
        rows.push(Row { file_name: record[name_column].trim().to_string(), texts });
    }
    Ok(Table { file, columns, rows })
}
