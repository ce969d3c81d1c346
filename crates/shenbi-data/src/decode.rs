//! Picture files to [`Picture`] and back; channels and size.
//!
//! The format is read off the content, never the name. A picture's size is checked before a pixel is decoded. EXIF
//! orientation is obeyed, 16-bit samples become 8-bit, and of an animation the first frame is taken.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};

use crate::{DataError, Picture, Result};

/// The default limit on the pixels of one picture: 50 megapixels.
pub const MAX_PIXELS: u64 = 50_000_000;

/// How a picture of another shape fills the wanted size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Fill the size and crop what sticks out, evenly on both sides.
    #[default]
    Cover,
    /// Show all of the picture and pad evenly: transparent for RGBA, white otherwise.
    Contain,
}

/// What a picture file says about itself before its pixels are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `"PNG"`, `"JPEG"`, `"WebP"`, `"BMP"` or `"GIF"`.
    pub format: &'static str,
    /// Pixels per row, before EXIF orientation.
    pub width: usize,
    /// Number of rows, before EXIF orientation.
    pub height: usize,
    /// Channels [`decode`] will give: 1, 3 or 4.
    pub channels: usize,
}

/// Reads the header of a picture file's content. `name` is for error messages.
///
/// # Errors
/// Not a picture in a known format, damaged, or more than `max_pixels` pixels.
pub fn probe(name: impl AsRef<Path>, bytes: &[u8], max_pixels: u64) -> Result<Header> {
    guarded(name.as_ref(), || open(name.as_ref(), bytes, max_pixels).map(|(_, header)| header))
}

/// Decodes a picture file's content. `name` is for error messages. Grey stays grey; grey with alpha becomes RGBA.
///
/// # Errors
/// Not a picture in a known format, damaged or cut off, or more than `max_pixels` pixels.
pub fn decode(name: impl AsRef<Path>, bytes: &[u8], max_pixels: u64) -> Result<Picture> {
    let name = name.as_ref();
    guarded(name, || {
        let (mut decoder, header) = open(name, bytes, max_pixels)?;
        if header.format == "JPEG" && !jpeg_is_complete(bytes) {
            // The decoder itself would paint the missing part grey and say nothing.
            return Err(DataError::file(name, "damaged JPEG picture: it is cut off (no end marker)"));
        }
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder)
            .map_err(|e| DataError::file(name, format!("damaged {} picture: {e}", header.format)))?;
        image.apply_orientation(orientation);
        let (width, height) = (image.width() as usize, image.height() as usize);
        let pixels = match header.channels {
            1 => image.into_luma8().into_raw(),
            3 => image.into_rgb8().into_raw(),
            _ => image.into_rgba8().into_raw(),
        };
        Ok(Picture { width, height, channels: header.channels, pixels })
    })
}

/// Decoders should not panic on damaged files; one that does costs that file, not the process.
fn guarded<T>(name: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(DataError::file(name, "damaged picture: its decoder panicked")))
}

fn open<'a>(name: &Path, bytes: &'a [u8], max_pixels: u64) -> Result<(impl ImageDecoder + 'a, Header)> {
    if bytes.is_empty() {
        return Err(DataError::file(name, "the file is empty"));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| DataError::io(name, e))?;
    let format = match reader.format() {
        Some(ImageFormat::Png) => "PNG",
        Some(ImageFormat::Jpeg) => "JPEG",
        Some(ImageFormat::WebP) => "WebP",
        Some(ImageFormat::Bmp) => "BMP",
        Some(ImageFormat::Gif) => "GIF",
        _ => return Err(DataError::file(name, "not a PNG, JPEG, WebP, BMP or GIF picture, going by its content")),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(64 << 20)); // RGBA of 16 bits, and buffers
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| DataError::file(name, format!("damaged {format} picture: {e}")))?;
    let (width, height) = decoder.dimensions();
    let count = u64::from(width) * u64::from(height);
    if count > max_pixels {
        let mega = |n: u64| n as f64 / 1e6;
        return Err(DataError::file(
            name,
            format!(
                "{width}x{height} is {:.1} megapixels, over the limit of {} megapixels (max_pixels): resize the \
                 picture or raise the limit",
                mega(count),
                mega(max_pixels)
            ),
        ));
    }
    if count == 0 {
        return Err(DataError::file(name, format!("damaged {format} picture: {width}x{height} pixels")));
    }
    let channels = match decoder.color_type() {
        ColorType::L8 | ColorType::L16 => 1,
        ColorType::Rgb8 | ColorType::Rgb16 | ColorType::Rgb32F => 3,
        _ => 4,
    };
    let header = Header { format, width: width as usize, height: height as usize, channels };
    Ok((decoder, header))
}

/// Walks the segments of a JPEG file and says whether its end marker is there.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2; // after the start marker
    loop {
        // Entropy-coded data and garbage between segments: up to the next marker that is neither a stuffed byte
        // (FF 00), a restart (FF D0..D7) nor fill (FF FF).
        while !matches!(bytes.get(at..at + 2), Some([0xff, m]) if !matches!(m, 0x00 | 0xd0..=0xd7 | 0xff)) {
            at += 1;
            if at >= bytes.len() {
                return false;
            }
        }
        match bytes[at + 1] {
            0xd9 => return true,
            0x01 | 0xd8 => at += 2, // no length follows
            _ => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
        }
    }
}

/// The picture with `channels` (1, 3 or 4) channels. RGBA to fewer is blended onto white; RGB to grey is ITU-R BT.601
/// luma (as in PIL's `convert("L")`); to RGBA is opaque.
///
/// # Errors
/// `channels` is not 1, 3 or 4.
pub fn with_channels(picture: Picture, channels: usize) -> Result<Picture> {
    if !matches!(channels, 1 | 3 | 4) {
        return Err(DataError::Setting(format!("channels = {channels}: pictures have 1 (grey), 3 (RGB) or 4 (RGBA)")));
    }
    if picture.channels == channels {
        return Ok(picture);
    }
    let mut pixels = Vec::with_capacity(picture.width * picture.height * channels);
    for pixel in picture.pixels.chunks_exact(picture.channels) {
        let [r, g, b, a] = match *pixel {
            [v] => [v, v, v, 255],
            [r, g, b] => [r, g, b, 255],
            [r, g, b, a] => [r, g, b, a],
            _ => return Err(DataError::Setting(format!("a picture of {} channels", picture.channels))),
        };
        let on_white = |v: u8| {
            let (v, a) = (u32::from(v), u32::from(a));
            ((v * a + 255 * (255 - a) + 127) / 255) as u8
        };
        match channels {
            4 => pixels.extend([r, g, b, a]),
            3 => pixels.extend([on_white(r), on_white(g), on_white(b)]),
            _ => {
                let [r, g, b] = [r, g, b].map(|v| u32::from(on_white(v)));
                pixels.push(((r * 299 + g * 587 + b * 114 + 500) / 1000) as u8);
            }
        }
    }
    Ok(Picture { width: picture.width, height: picture.height, channels, pixels })
}

/// The picture at `[height, width]`: Lanczos-3 with antialiasing (as PIL's `LANCZOS`), alpha-weighted for RGBA.
///
/// # Errors
/// A side of the size is 0 or absurdly large.
pub fn fit(picture: &Picture, size: [usize; 2], fit: Fit) -> Result<Picture> {
    let [height, width] = size;
    if height == 0 || width == 0 || height > 1 << 15 || width > 1 << 15 {
        return Err(DataError::Setting(format!("size {height}x{width}: each side must be in 1..=32768")));
    }
    if [picture.height, picture.width] == size {
        return Ok(picture.clone());
    }
    match fit {
        Fit::Cover => resample(picture, size),
        Fit::Contain => {
            let scale = (height as f64 / picture.height as f64).min(width as f64 / picture.width as f64);
            let side = |from: usize, limit: usize| ((from as f64 * scale).round() as usize).clamp(1, limit);
            let inner = resample(picture, [side(picture.height, height), side(picture.width, width)])?;
            let c = picture.channels;
            let mut pixels = vec![if c == 4 { 0 } else { 255 }; height * width * c];
            let (top, left) = ((height - inner.height) / 2, (width - inner.width) / 2);
            for (y, row) in inner.pixels.chunks_exact(inner.width * c).enumerate() {
                let start = ((top + y) * width + left) * c;
                pixels[start..start + row.len()].copy_from_slice(row);
            }
            Ok(Picture { width, height, channels: c, pixels })
        }
    }
}

/// Resizes, cropping the source evenly to the wanted aspect ratio.
fn resample(picture: &Picture, [height, width]: [usize; 2]) -> Result<Picture> {
    let failed = |e: &dyn std::fmt::Display| {
        let Picture { width: w, height: h, channels: c, .. } = picture;
        DataError::Setting(format!("cannot resize {w}x{h} with {c} channels to {width}x{height}: {e}"))
    };
    let kind = match picture.channels {
        1 => PixelType::U8,
        3 => PixelType::U8x3,
        4 => PixelType::U8x4,
        _ => return Err(failed(&"expected 1, 3 or 4 channels")),
    };
    let source =
        ImageRef::new(picture.width as u32, picture.height as u32, &picture.pixels, kind).map_err(|e| failed(&e))?;
    let mut target = Image::new(width as u32, height as u32, kind);
    let options = ResizeOptions::new().fit_into_destination(None);
    Resizer::new().resize(&source, &mut target, Some(&options)).map_err(|e| failed(&e))?;
    Ok(Picture { width, height, channels: picture.channels, pixels: target.into_vec() })
}

/// The picture as the content of a PNG file.
///
/// # Errors
/// Its channels or the number of its samples do not fit together.
pub fn encode_png(picture: &Picture) -> Result<Vec<u8>> {
    let Picture { width, height, channels, ref pixels } = *picture;
    let color = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        _ => return Err(DataError::Setting(format!("cannot write a picture of {channels} channels as PNG"))),
    };
    if pixels.len() != width * height * channels {
        let found = pixels.len();
        return Err(DataError::Setting(format!("{width}x{height} with {channels} channels, but {found} samples")));
    }
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(pixels, width as u32, height as u32, color)
        .map_err(|e| DataError::Setting(format!("cannot write {width}x{height} as PNG: {e}")))?;
    Ok(bytes)
}

/// Writes the picture as a PNG file: either the whole file is there afterwards, or what was there before.
///
/// # Errors
/// As [`encode_png`], or the file cannot be written.
pub fn write_png(path: impl AsRef<Path>, picture: &Picture) -> Result<()> {
    write_atomically(path, &encode_png(picture)?)
}

/// Writes `bytes` under a temporary name in the same folder, syncs, and renames: a reader sees the old file or the
/// whole new one.
///
/// # Errors
/// The folder does not exist or cannot be written.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let path = path.as_ref();
    let Some(name) = path.file_name() else {
        return Err(DataError::file(path, "not the name of a file"));
    };
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{}.{}-{number}.tmp", name.to_string_lossy(), std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&temporary); // the first error is the one to report
        DataError::io(path, e)
    })
}
