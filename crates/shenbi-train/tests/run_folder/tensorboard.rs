//! The events file, read back by a reader of its own.

use std::fs;
use std::path::Path;

use shenbi_train::run_folder::RunFolder;
use tempfile::tempdir;

use crate::{CONFIG, names};

/// Reads an events file back without the code that wrote it.
fn events(path: &Path) -> Vec<(Option<u64>, String, Option<f32>)> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked(&rest[..8]), "checksum of the length");
        let payload = &rest[12..12 + length];
        assert_eq!(rest[12 + length..16 + length], masked(payload), "checksum of the payload");
        rest = &rest[16 + length..];
        let mut event = (None, String::new(), None);
        for (number, value) in fields(payload) {
            match (number, value) {
                (1, Field::Eight(time)) => assert!(f64::from_le_bytes(time) > 1.7e9),
                (2, Field::Varint(step)) => event.0 = Some(step),
                (3, Field::Bytes(version)) => event.1 = String::from_utf8(version).unwrap(),
                (5, Field::Bytes(summary)) => {
                    let summary = fields(&summary);
                    let [(1, Field::Bytes(point))] = summary.as_slice() else { panic!("{summary:?}") };
                    let point = fields(point);
                    let [(1, Field::Bytes(tag)), (2, Field::Four(value))] = point.as_slice() else {
                        panic!("{point:?}")
                    };
                    event.1 = String::from_utf8(tag.clone()).unwrap();
                    event.2 = Some(f32::from_le_bytes(*value));
                }
                (7, Field::Bytes(log)) => event.1 = format!("session {log:?}"),
                (number, _) => panic!("field {number}"),
            }
        }
        events.push(event);
    }
    events
}

#[derive(Debug)]
enum Field {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(n);
        *bytes = rest;
        taken
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = match tag & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            1 => Field::Eight(take(&mut bytes, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length).to_vec())
            }
            5 => Field::Four(take(&mut bytes, 4).try_into().unwrap()),
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, value));
    }
    fields
}

/// crc32c bit by bit, then TensorFlow's mask.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[test]
fn tensorboard_events_are_framed_as_tensorflow_does() {
    assert_eq!(masked(b"123456789"), (0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes());
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    let long = "损失/".repeat(60);
    run.scalar("loss/d", 1, 0.25).unwrap();
    run.scalar(&long, 300, -7.5).unwrap();
    run.scalar("loss/d", u64::MAX >> 1, f32::INFINITY).unwrap();
    drop(run);
    let mut run = RunFolder::open(&path).unwrap();
    run.truncate_log(1).unwrap();
    run.scalar("loss/d", 2, 1.0).unwrap();
    let files: Vec<String> = names(&path).into_iter().filter(|name| name.starts_with("events.out.tfevents.")).collect();
    let [first, second] = files.as_slice() else { panic!("{files:?}") };
    assert!(first.ends_with(".shenbi"));
    let version = (None, "brain.Event:2".to_string(), None);
    assert_eq!(
        events(&path.join(first)),
        [
            version.clone(),
            (Some(1), "loss/d".to_string(), Some(0.25)),
            (Some(300), long, Some(-7.5)),
            (Some(u64::MAX >> 1), "loss/d".to_string(), Some(f32::INFINITY)),
        ]
    );
    assert_eq!(
        events(&path.join(second)),
        [version, (Some(2), "session [8, 1]".to_string(), None), (Some(2), "loss/d".to_string(), Some(1.0))]
    );
}
