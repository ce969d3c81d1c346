//! `metadata.jsonl`: one JSON object a line, `{"file_name": "images/1.png", "text": "a red potion"}`.
//!
//! The convention of Hugging Face's `imagefolder`. A caption is a string or a list of strings.

use std::path::Path;

use serde_json::{Map, Value};

use super::store::Store;
use super::table::{Row, Table};
use crate::{DataError, Result};

pub(super) fn read(store: &Store, file: usize) -> Result<Table> {
    let text = store.read_text(file)?;
    let path = store.path(file);
    let mut table = Table { file, columns: Vec::new(), rows: Vec::new() };
    for object in objects(&path, &text) {
        let (line, object) = object?;
        let at = |message: String| DataError::line(&path, line, message);
        for column in object.keys() {
            if !table.columns.contains(column) {
                table.columns.push(column.clone());
            }
        }
        let file_name = match object.get("file_name") {
            Some(Value::String(name)) => name.clone(),
            Some(other) => return Err(at(format!("`file_name` is {other}, expected a string"))),
            None => {
                let columns: Vec<String> = object.keys().cloned().collect();
                return Err(Table::no_file_name(store, file, line, &columns));
            }
        };
        let texts = object.into_iter().filter_map(|(column, value)| Some((column, texts(value)?))).collect();
        table.rows.push(Row { file_name, texts });
    }
    Ok(table)
}

/// The JSON objects of a text, one a line, with the numbers of their lines; empty lines are passed over.
pub(crate) fn objects<'a>(
    path: &'a Path,
    text: &'a str,
) -> impl Iterator<Item = Result<(usize, Map<String, Value>)>> + 'a {
    text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()).map(move |(line, number)| {
        let wrong = |e: &serde_json::Error| format!("not a JSON object (one a line expected): {}", short(e));
        let object = serde_json::from_str(line).map_err(|e| DataError::line(path, number, wrong(&e)))?;
        Ok((number, object))
    })
}

/// A string, or a list of strings; `None` for anything else.
pub(crate) fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(values) if !values.is_empty() => {
            values.into_iter().map(|v| if let Value::String(text) = v { Some(text) } else { None }).collect()
        }
        _ => None,
    }
}

/// The parser counts its own lines from the line's start; only its column is of use.
fn short(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at column")
}
