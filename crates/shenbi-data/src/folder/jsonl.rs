//! `metadata.jsonl`: one JSON object a line, `{"file_name": "images/1.png", "text": "a red potion"}`.
//!
//! The convention of Hugging Face's `imagefolder`. A caption is a string or a list of strings.

use serde_json::{Map, Value};

use super::store::Store;
use super::table::{Row, Table};
use crate::{DataError, Result};

pub(super) fn read(store: &Store, file: usize) -> Result<Table> {
    let text = store.read_text(file)?;
    let mut table = Table { file, columns: Vec::new(), rows: Vec::new() };
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = |message: String| DataError::line(store.path(file), number + 1, message);
        let object: Map<String, Value> = serde_json::from_str(line)
            .map_err(|e| at(format!("not a JSON object (one a line expected): {}", short(&e))))?;
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
                return Err(Table::no_file_name(store, file, number + 1, &columns));
            }
        };
        let texts = object.into_iter().filter_map(|(column, value)| Some((column, texts(value)?))).collect();
        table.rows.push(Row { file_name, texts });
    }
    Ok(table)
}

/// A string, or a list of strings; `None` for anything else.
fn texts(value: Value) -> Option<Vec<String>> {
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
