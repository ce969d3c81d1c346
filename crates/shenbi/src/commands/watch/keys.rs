//! Keys out of the bytes that a terminal sends.

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Escape alone.
    Escape,
    /// Ctrl-C, or the terminal is gone.
    Interrupt,
    /// Tab.
    Tab,
    /// Tab with shift.
    BackTab,
    /// An arrow.
    Left,
    /// An arrow.
    Right,
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
}

/// Bytes of a sequence, at most: what is longer is none.
const LONGEST: usize = 32;

/// Takes the keys off the front of `bytes`. What may be the start of a sequence stays there, unless it is `all` that
/// will come: an escape that nothing follows is the key itself.
pub fn take(bytes: &mut Vec<u8>, all: bool) -> Vec<Key> {
    let (mut keys, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let Some((key, length)) = first(&bytes[at..], all) else { break };
        keys.extend(key);
        at += length;
    }
    bytes.drain(..at);
    keys
}

/// The first key, if it is one of ours, and its bytes; nothing if it may be unfinished.
fn first(bytes: &[u8], all: bool) -> Option<(Option<Key>, usize)> {
    match bytes {
        [0x1b, b'[' | b'O', rest @ ..] => {
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
            let Some(end) = end.filter(|end| *end < LONGEST) else {
                return (all || rest.len() >= LONGEST).then_some((None, bytes.len()));
            };
            let key = match &rest[..=end] {
                [.., b'A'] => Some(Key::Up),
                [.., b'B'] => Some(Key::Down),
                [.., b'C'] => Some(Key::Right),
                [.., b'D'] => Some(Key::Left),
                b"Z" => Some(Key::BackTab),
                b"5~" => Some(Key::PageUp),
                b"6~" => Some(Key::PageDown),
                _ => None,
            };
            Some((key, end + 3))
        }
        [0x1b] => all.then_some((Some(Key::Escape), 1)),
        [0x1b, ..] => Some((Some(Key::Escape), 1)),
        [0x03, ..] => Some((Some(Key::Interrupt), 1)),
        [b'\t', ..] => Some((Some(Key::Tab), 1)),
        [byte @ b' '..=b'~', ..] => Some((Some(Key::Char(char::from(*byte))), 1)),
        _ => Some((None, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_keys() {
        let mut bytes = b"q\x1b[A\x1bOB\x1b[1;5C\x1b[D\t\x1b[Z\x1b[5~\x1b[6~\x1b[24~\xe7\xa5\x9e\x03?".to_vec();
        assert_eq!(
            take(&mut bytes, false),
            [
                Key::Char('q'),
                Key::Up,
                Key::Down,
                Key::Right,
                Key::Left,
                Key::Tab,
                Key::BackTab,
                Key::PageUp,
                Key::PageDown,
                Key::Interrupt,
                Key::Char('?')
            ]
        );
        assert!(bytes.is_empty());
    }

    #[test]
    fn an_escape_alone_is_a_key() {
        let mut bytes = b"\x1b".to_vec();
        assert!(take(&mut bytes, false).is_empty());
        bytes.extend(b"[");
        assert!(take(&mut bytes, false).is_empty());
        bytes.extend(b"B");
        assert_eq!(take(&mut bytes, false), [Key::Down]);
        bytes.extend(b"\x1b");
        assert_eq!(take(&mut bytes, true), [Key::Escape]);
        bytes.extend(b"\x1bq");
        assert_eq!(take(&mut bytes, false), [Key::Escape, Key::Char('q')]);
    }

    #[test]
    fn noise_is_none() {
        for byte in 0..=255_u8 {
            let mut bytes = vec![0x1b, b'[', byte, byte];
            take(&mut bytes, true);
            assert!(bytes.is_empty(), "{byte}");
        }
        let mut bytes = b"\x1b[".to_vec();
        bytes.extend([b'0'; 100]);
        assert!(take(&mut bytes, false).is_empty() && bytes.is_empty());
    }
}
