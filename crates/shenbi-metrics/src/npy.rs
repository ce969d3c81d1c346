//! NumPy's own files: an array (`.npy`) and a zip of them (`.npz`), as far as statistics need them: numbers in floating
//! point, rows first. Object arrays, which are pickles, are refused: nothing in a file is run.
//!
//! A `.npy` file is the bytes `\x93NUMPY`, a version, the length of a header, the header (a Python dictionary such as
//! `{'descr': '<f8', 'fortran_order': False, 'shape': (2048,), }`) and the numbers.

use std::io::{Cursor, Read};

use crate::{MetricsError, Result};

/// Numbers in an array, at most: a covariance of 8,192 features.
const MOST: usize = 1 << 26;
/// Bytes of a header, at most.
const HEADER: usize = 1 << 16;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

/// The array called `name` in the bytes of an `.npz` file.
///
/// # Errors
/// The bytes are no such file, there is no array of this name (the message lists those there are), or it is not one of
/// floating point or is too large.
pub fn from_npz(bytes: &[u8], name: &str) -> Result<Array> {
    let refused = |message: String| MetricsError::Metadata(message);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| refused(format!("not a whole .npz file of NumPy: {error}")))?;
    let names: Vec<String> = archive.file_names().take(20).flatten().map(std::borrow::Cow::into_owned).collect();
    let file = archive
        .by_name(&format!("{name}.npy"))
        .map_err(|_| refused(format!("no array '{name}' in the .npz file; it holds: {}", names.join(", "))))?;
    let mut content = Vec::new();
    let most = (MOST * 8 + HEADER) as u64;
    let read = file.take(most + 1).read_to_end(&mut content);
    read.map_err(|error| refused(format!("array '{name}' of the .npz file is damaged: {error}")))?;
    if content.len() as u64 > most {
        return Err(refused(format!("array '{name}' of the .npz file has more than {MOST} numbers")));
    }
    from_npy(&content).map_err(|error| refused(format!("array '{name}' of the .npz file: {error}")))
}

/// The array in the bytes of an `.npy` file.
///
/// # Errors
/// The bytes are no such file or cut off, or the array is not one of floating point, is too large or lies columns first.
pub fn from_npy(bytes: &[u8]) -> Result<Array> {
    let refused = |message: &str| MetricsError::Metadata(format!("not an .npy file that can be read: {message}"));
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| refused("it does not begin as one"))?;
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (usize::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
        _ => return Err(refused("an unknown version, or cut off")),
    };
    if length > HEADER || length > rest.len() {
        return Err(refused("its header is cut off or far too long"));
    }
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).map_err(|_| refused("its header is no text"))?;
    let kind = entry(header, "descr").ok_or_else(|| refused("its header has no 'descr'"))?;
    let (size, big) = match kind.trim_matches(['\'', '"']) {
        "<f8" => (8, false),
        ">f8" => (8, true),
        "<f4" => (4, false),
        ">f4" => (4, true),
        other => {
            return Err(refused(&format!("numbers of type {}, expected <f8 or <f4", other.escape_debug())));
        }
    };
    let shape = entry(header, "shape").and_then(shape).ok_or_else(|| refused("its header has no 'shape'"))?;
    let columns_first = entry(header, "fortran_order") == Some("True");
    if columns_first && shape.len() > 1 {
        return Err(refused("it lies columns first; save numpy.ascontiguousarray of it"));
    }
    let count = shape.iter().try_fold(1_usize, |count, side| count.checked_mul(*side)).filter(|count| *count <= MOST);
    let count = count.ok_or_else(|| refused(&format!("more than {MOST} numbers")))?;
    if data.len() != count * size {
        return Err(refused(&format!("{} bytes for {count} numbers of {size}: cut off", data.len())));
    }
    let number = |bytes: &[u8]| {
        let mut word = [0; 8];
        for (i, byte) in bytes.iter().enumerate() {
            word[if big { size - 1 - i } else { i }] = *byte;
        }
        if size == 8 { f64::from_le_bytes(word) } else { f64::from(f32::from_bits(u64::from_le_bytes(word) as u32)) }
    };
    Ok(Array { shape, values: data.chunks_exact(size).map(number).collect() })
}

/// The text of `key`'s value in a header, up to the comma behind it (outside of brackets).
fn entry<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let after = header.split_once(&format!("'{key}':"))?.1.trim_start();
    let mut depth = 0_usize;
    let end = after.find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' | '}' => return depth == 0,
            _ => {}
        }
        false
    })?;
    Some(after[..end].trim_end())
}

/// `(3, 4)`, `(3,)` or `()`.
fn shape(text: &str) -> Option<Vec<usize>> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?;
    inside.split(',').map(str::trim).filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn numbers_of_either_size_and_end() {
        let header =
            |kind: &str, shape: &str| format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let doubles: Vec<u8> = [1.5_f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let read = from_npy(&npy(&header("<f8", "(2,)"), &doubles)).unwrap();
        assert_eq!(read, Array { shape: vec![2], values: vec![1.5, -2.0] });
        let floats: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        let read = from_npy(&npy(&header(">f4", "(1, 2)"), &floats)).unwrap();
        assert_eq!(read, Array { shape: vec![1, 2], values: vec![1.5, -2.0] });
        assert_eq!(from_npy(&npy(&header("<f8", "()"), &doubles[..8])).unwrap().values, [1.5]);
    }

    #[test]
    fn hostile_files_are_refused() {
        let refused = |bytes: &[u8]| from_npy(bytes).unwrap_err().to_string();
        let with = |kind: &str, order: &str, shape: &str| {
            npy(&format!("{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}}}"), &[0; 16])
        };
        assert!(refused(b"PK").contains("begin"));
        assert!(refused(b"\x93NUMPY").contains("version"));
        assert!(refused(b"\x93NUMPY\x07\x00\x00\x00").contains("version"));
        assert!(refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}").contains("header"));
        assert!(refused(&npy("\u{1}", &[])).contains("descr"));
        assert!(refused(&with("'|O'", "False", "(2,)")).contains("|O"));
        assert!(refused(&with("'<i8'", "False", "(2,)")).contains("<f8"));
        assert!(refused(&with("'<f8'", "True", "(1, 2)")).contains("columns first"));
        assert!(refused(&with("'<f8'", "False", "(3,)")).contains("cut off"));
        assert!(refused(&with("'<f8'", "False", "(18446744073709551615, 18446744073709551615)")).contains("more than"));
        assert!(refused(&with("'<f8'", "False", "(-2,)")).contains("shape"));
        assert!(refused(&with("'<f8'", "False", "((((((2")).contains("shape"));
        assert!(from_npz(b"PK\x03\x04", "mu").unwrap_err().to_string().contains(".npz"));
        // Any cut and any changed byte: an error or an array, never a panic.
        let whole = with("'<f8'", "False", "(2,)");
        for at in 0..whole.len() {
            assert!(from_npy(&whole[..at]).is_err());
            for byte in [0, b'9', b'(', 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = from_npy(&changed);
            }
        }
    }
}
