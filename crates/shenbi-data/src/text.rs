//! Texts to learn a language from: the lines of a file, or columns of a table (`.csv`, `.jsonl`).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::folder::table::list;
use crate::folder::{csv_file, jsonl};
use crate::{DataError, Result};

/// More than that is not read: all of it is held in memory.
const MAX_BYTES: u64 = 1 << 30;
/// Columns that are taken where none is named.
const USUAL: [&str; 3] = ["text", "caption", "sentence"];

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// One text a line or row, white space at its ends removed and made single spaces inside; none is empty.
    pub texts: Vec<String>,
    /// Lines or rows without text, which were left out.
    pub empty: usize,
}

/// The texts of the file at `path`: lines; of `.csv` and `.jsonl` files the named columns, joined by a space (where none
/// is named, `text`, `caption` or `sentence`).
///
/// # Errors
/// The file cannot be read, is not UTF-8 (the line is named), is no such table or lacks a column, or holds no text.
pub fn read(path: &Path, columns: &[String]) -> Result<Texts> {
    let text = utf8(path, bytes(path)?)?;
    let is = |extension: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    let rows = if is("csv") {
        of_csv(path, &text, columns)?
    } else if is("jsonl") {
        of_jsonl(path, &text, columns)?
    } else if columns.is_empty() {
        text.lines().map(str::to_string).collect()
    } else {
        let message = "columns are of tables; give a .csv or .jsonl file, or leave the columns out";
        return Err(DataError::file(path, message));
    };
    let all = rows.len();
    let tidy = |row: String| row.split_whitespace().collect::<Vec<_>>().join(" ");
    let texts: Vec<String> = rows.into_iter().map(tidy).filter(|text| !text.is_empty()).collect();
    if texts.is_empty() {
        let what = if all == 0 { "an empty file".to_string() } else { format!("{all} lines, all of them empty") };
        return Err(DataError::file(path, format!("{what}; expected a text a line")));
    }
    Ok(Texts { empty: all - texts.len(), texts })
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let at = |error| DataError::io(path, error);
    let info = std::fs::metadata(path).map_err(at)?;
    if info.is_dir() {
        return Err(DataError::file(path, "a folder, expected a text file, .csv or .jsonl"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(at)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(at)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(DataError::file(path, format!("more than {} MiB; split it and take a part", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// `bytes` as text, without a byte order mark.
pub(crate) fn utf8(path: &Path, mut bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..good].iter().filter(|&&b| b == b'\n').count() + 1;
        DataError::line(path, line, "not UTF-8; save the file as UTF-8")
    })
}

fn chosen(path: &Path, known: &[String], columns: &[String]) -> Result<Vec<String>> {
    if columns.is_empty() {
        let usual = USUAL.iter().find(|usual| known.iter().any(|column| column == *usual));
        return usual.map(|usual| vec![(*usual).to_string()]).ok_or_else(|| {
            let message =
                format!("which column holds the texts? Name it with --column; the columns are {}", list(known));
            DataError::file(path, message)
        });
    }
    match columns.iter().find(|column| !known.contains(column)) {
        Some(missing) => Err(DataError::file(path, format!("no column `{missing}`; the columns are {}", list(known)))),
        None => Ok(columns.to_vec()),
    }
}

fn of_csv(path: &Path, text: &str, columns: &[String]) -> Result<Vec<String>> {
    let (known, records) = csv_file::records(path, text)?;
    let chosen = chosen(path, &known, columns)?;
    let places: Vec<usize> =
        chosen.iter().filter_map(|column| known.iter().position(|known| known == column)).collect();
    let join = |record: Vec<String>| places.iter().map(|place| record[*place].as_str()).collect::<Vec<_>>().join(" ");
    Ok(records.into_iter().map(join).collect())
}

fn of_jsonl(path: &Path, text: &str, columns: &[String]) -> Result<Vec<String>> {
    let objects = jsonl::objects(path, text).collect::<Result<Vec<_>>>()?;
    let mut known: Vec<String> = Vec::new();
    for column in objects.iter().flat_map(|(_, object)| object.keys()) {
        if !known.contains(column) {
            known.push(column.clone());
        }
    }
    let chosen = chosen(path, &known, columns)?;
    let mut rows = Vec::with_capacity(objects.len());
    for (line, object) in objects {
        let mut parts = Vec::new();
        for column in &chosen {
            match object.get(column).cloned() {
                None | Some(serde_json::Value::Null) => {}
                Some(value) => parts.extend(jsonl::texts(value).ok_or_else(|| {
                    DataError::line(path, line, format!("`{column}` holds no text; expected a string"))
                })?),
            }
        }
        rows.push(parts.join(" "));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, content: &[u8], columns: &[&str]) -> std::result::Result<Texts, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let columns: Vec<String> = columns.iter().map(|column| (*column).to_string()).collect();
        read(&path, &columns).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_and_columns() {
        let texts =
            |texts: &[&str], empty| Ok(Texts { texts: texts.iter().map(|text| (*text).to_string()).collect(), empty });
        assert_eq!(
            read_as("a.txt", "\u{feff}one  day \r\n\n 春 眠\n".as_bytes(), &[]),
            texts(&["one day", "春 眠"], 1)
        );
        let csv = b"title,score,selftext\nA joke,3,\"two\nlines\"\n,4,\n";
        assert_eq!(read_as("a.csv", csv, &["title", "selftext"]), texts(&["A joke two lines"], 1));
        let jsonl = b"{\"text\": \"one\"}\n\n{\"text\": [\"a\", \"b\"], \"n\": 3}\n{\"n\": 4}\n";
        assert_eq!(read_as("a.jsonl", jsonl, &[]), texts(&["one", "a b"], 1));
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (name, content, columns, words) in [
            ("a.txt", &b"good\nb\xffd\n"[..], &[][..], &["line 2", "UTF-8"][..]),
            ("a.txt", b"", &[], &["empty file"]),
            ("a.txt", b"\n \n", &[], &["2 lines, all of them empty"]),
            ("a.txt", b"x", &["title"], &[".csv or .jsonl"]),
            ("a.csv", b"title,selftext\nx,y\n", &[], &["--column", "`title`, `selftext`"]),
            ("a.csv", b"title\nx\n", &["text"], &["no column `text`"]),
            ("a.csv", b"title,b\nx\n", &["title"], &["line 2", "1 fields"]),
            ("a.jsonl", b"{\"text\": 3}\n", &[], &["line 1", "holds no text"]),
            ("a.jsonl", b"{\"text\": \"a\"}\n{\n", &[], &["line 2", "not a JSON object"]),
        ] {
            let error = read_as(name, content, columns).unwrap_err();
            for word in words.iter().chain(&[name]) {
                assert!(error.contains(word), "'{word}' in: {error}");
            }
        }
        assert!(read(Path::new("/no/such/file.txt"), &[]).is_err());
        assert!(read(&std::env::temp_dir(), &[]).unwrap_err().to_string().contains("a folder"));
    }
}
