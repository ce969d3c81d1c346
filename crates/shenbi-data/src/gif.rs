//! Animated GIFs, for a person to look at.

use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbaImage};

use crate::decode::{with_channels, write_atomically};
use crate::{DataError, Picture, Result};

/// 1 (slow, best) to 30: how thoroughly the 256 colours of a frame are chosen.
const SPEED: i32 = 10;

/// The frames as the content of a GIF file that repeats for ever, each shown for so many milliseconds (GIF counts in
/// tens). Pixels of an RGBA frame are transparent at alpha 0 and opaque else.
///
/// # Errors
/// There is no frame, frames differ in size, or a side is longer than 65535.
pub fn encode_gif(frames: impl IntoIterator<Item = Picture>, milliseconds: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut first = None;
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, SPEED);
        let failed = |e: image::ImageError| DataError::Setting(format!("cannot write a GIF: {e}"));
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        for picture in frames {
            let Picture { width, height, pixels, .. } = with_channels(picture, 4)?;
            let size = [width, height];
            let wanted = *first.get_or_insert(size);
            if size != wanted {
                let [w, h] = wanted;
                return Err(DataError::Setting(format!("a frame of {width}x{height} in a GIF of {w}x{h}")));
            }
            let buffer = u32::try_from(width).ok().zip(u32::try_from(height).ok());
            let buffer = buffer.and_then(|(width, height)| RgbaImage::from_raw(width, height, pixels));
            let Some(buffer) = buffer.filter(|buffer| buffer.width() > 0 && buffer.height() > 0) else {
                return Err(DataError::Setting(format!("{width}x{height} is no size of a GIF's frame")));
            };
            let delay = Delay::from_numer_denom_ms(milliseconds, 1);
            encoder.encode_frame(Frame::from_parts(buffer, 0, 0, delay)).map_err(failed)?;
        }
    }
    match first {
        Some(_) => Ok(bytes),
        None => Err(DataError::Setting("a GIF needs at least one frame".to_string())),
    }
}

/// Writes [`encode_gif`]'s file: either the whole file is there afterwards, or what was there before.
///
/// # Errors
/// As [`encode_gif`], or the file cannot be written.
pub fn write_gif(path: impl AsRef<Path>, frames: impl IntoIterator<Item = Picture>, milliseconds: u32) -> Result<()> {
    write_atomically(path, &encode_gif(frames, milliseconds)?)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::AnimationDecoder;
    use image::codecs::gif::GifDecoder;

    use super::*;

    fn plain(width: usize, height: usize, pixel: &[u8]) -> Picture {
        Picture { width, height, channels: pixel.len(), pixels: pixel.repeat(width * height) }
    }

    #[test]
    fn frames_come_back_with_their_colours_and_times() {
        let mut spotted = plain(9, 5, &[200, 10, 30, 255]);
        spotted.pixels[..4].fill(0);
        let frames = [plain(9, 5, &[7]), plain(9, 5, &[1, 2, 250]), spotted.clone()];
        let bytes = encode_gif(frames, 60).unwrap();
        let read = GifDecoder::new(Cursor::new(&bytes)).unwrap().into_frames().collect_frames().unwrap();
        assert_eq!(read.len(), 3);
        assert!(read.iter().all(|frame| frame.delay().numer_denom_ms() == (60, 1)));
        assert_eq!(read[0].buffer().as_raw(), &plain(9, 5, &[7, 7, 7, 255]).pixels);
        assert_eq!(read[1].buffer().as_raw(), &plain(9, 5, &[1, 2, 250, 255]).pixels);
        assert_eq!(read[2].buffer().get_pixel(0, 0).0[3], 0);
        assert_eq!(&read[2].buffer().as_raw()[4..], &spotted.pixels[4..]);
    }

    #[test]
    fn what_is_no_animation_is_refused() {
        let error = |frames: Vec<Picture>| encode_gif(frames, 50).unwrap_err().to_string();
        assert!(error(vec![]).contains("at least one frame"));
        assert!(error(vec![plain(2, 2, &[0]), plain(2, 3, &[0])]).contains("2x3 in a GIF of 2x2"));
        assert!(error(vec![plain(70_000, 1, &[0])]).contains("GIF"));
        assert!(error(vec![plain(0, 1, &[0])]).contains("0x1"));
    }

    #[test]
    fn the_file_is_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        assert!(write_gif(&path, [], 50).is_err() && !path.exists());
        write_gif(&path, [plain(3, 3, &[9])], 50).unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"GIF89a"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
