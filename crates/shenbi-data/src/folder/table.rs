//! What `metadata.jsonl` and `metadata.csv` share: rows of named columns, and which of them are captions.

use super::store::{Store, folder_of, is_picture};
use super::{Candidate, FolderOptions, Skipped};
use crate::{DataError, Result};

/// A metadata file.
pub(super) struct Table {
    /// Its number in the store.
    pub file: usize,
    /// Every column, in the order met.
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// A picture's row.
pub(super) struct Row {
    pub file_name: String,
    /// The columns that hold text, with one or several texts each.
    pub texts: Vec<(String, Vec<String>)>,
}

impl Row {
    fn text(&self, column: &str) -> Option<&[String]> {
        self.texts.iter().find(|(name, _)| name == column).map(|(_, texts)| texts.as_slice())
    }
}

const FILE_NAME: &str = "file_name";
const SPLIT: &str = "split";

impl Table {
    /// The error for a table without `file_name`.
    pub fn no_file_name(store: &Store, file: usize, line: usize, columns: &[String]) -> DataError {
        let message = format!("no `{FILE_NAME}` column, which names the picture; the columns are {}", list(columns));
        DataError::line(store.path(file), line, message)
    }
}

/// The pictures that the tables name, with their captions.
pub(super) fn candidates(
    store: &Store,
    tables: &[Table],
    options: &FolderOptions,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<Candidate>> {
    let has_rows = tables.iter().any(|table| !table.rows.is_empty());
    let columns = if has_rows { caption_columns(store, tables, options)? } else { Vec::new() };
    let mut found: Vec<Candidate> = Vec::new();
    let mut place = vec![None; store.names().len()]; // a picture's place in `found`
    let mut named = vec![false; store.names().len()];
    for table in tables {
        for row in &table.rows {
            let captions: Vec<String> = columns
                .iter()
                .filter_map(|column| row.text(column))
                .flatten()
                .map(|text| text.trim().to_string())
                .filter(|text| !text.is_empty())
                .collect();
            let Some(file) = store.find_beside(table.file, &row.file_name) else {
                let reason = format!("named in {}, but there is no such file", store.name(table.file));
                skipped.push(Skipped::new(full_name(store, table, row), reason));
                continue;
            };
            named[file] = true;
            if captions.is_empty() && options.captions_required {
                skipped.push(Skipped::new(store.name(file), format!("no caption ({})", list(&columns))));
                continue;
            }
            // A second row for the same picture adds captions.
            if let Some(at) = place[file] {
                let first: &mut Candidate = &mut found[at];
                first.captions.extend(captions);
                continue;
            }
            place[file] = Some(found.len());
            let split = row.text(SPLIT).and_then(|texts| texts.first()).cloned();
            found.push(Candidate { file, captions, class: None, split });
        }
    }
    for (file, name) in store.names().iter().enumerate().filter(|(_, name)| is_picture(name)) {
        if !named[file] {
            skipped.push(Skipped::new(name, format!("not named in {}", store.name(tables[0].file))));
        }
    }
    Ok(found)
}

fn full_name(store: &Store, table: &Table, row: &Row) -> String {
    match folder_of(store.name(table.file)) {
        "" => row.file_name.clone(),
        folder => format!("{folder}/{}", row.file_name),
    }
}

/// The columns to take captions from: the ones asked for, or `text`, or `caption`, or the only one that holds text.
fn caption_columns(store: &Store, tables: &[Table], options: &FolderOptions) -> Result<Vec<String>> {
    let mut columns: Vec<String> = Vec::new();
    for column in tables.iter().flat_map(|t| &t.columns) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    let holds_text = |column: &str| tables.iter().flat_map(|t| &t.rows).any(|row| row.text(column).is_some());
    let path = store.path(tables[0].file);
    if !options.caption_columns.is_empty() {
        for wanted in &options.caption_columns {
            if !columns.contains(wanted) {
                return Err(DataError::file(path, format!("no column `{wanted}`; the columns are {}", list(&columns))));
            }
            if !holds_text(wanted) {
                return Err(DataError::file(path, format!("column `{wanted}` holds no text, so no captions")));
            }
        }
        return Ok(options.caption_columns.clone());
    }
    if let Some(usual) = ["text", "caption"].into_iter().find(|c| holds_text(c)) {
        return Ok(vec![usual.to_string()]);
    }
    let is_number = |column: &str| {
        let mut texts = tables.iter().flat_map(|t| &t.rows).filter_map(|row| row.text(column)).flatten();
        texts.all(|text| text.trim().is_empty() || text.trim().parse::<f64>().is_ok())
    };
    let candidates: Vec<String> = columns
        .iter()
        .filter(|c| !matches!(c.as_str(), FILE_NAME | SPLIT) && holds_text(c) && !is_number(c))
        .cloned()
        .collect();
    match candidates.as_slice() {
        [only] => Ok(vec![only.clone()]),
        [] if !options.captions_required => Ok(Vec::new()),
        [] => Err(DataError::file(
            path,
            format!("no column holds captions (expected `text` or `caption`); the columns are {}", list(&columns)),
        )),
        several => Err(DataError::file(
            path,
            format!("which column holds the captions? {} could; name the right ones (caption_columns)", list(several)),
        )),
    }
}

/// `a`, `b`, `c`
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "(none)".to_string();
    }
    let mut text = names.iter().take(20).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > 20 {
        text.push_str(&format!(" and {} more", names.len() - 20));
    }
    text
}
