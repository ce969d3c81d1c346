use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageBuffer, ImageFormat};
use proptest::prelude::*;
use shenbi_data::Picture;
use shenbi_data::decode::{Fit, MAX_PIXELS, decode, encode_png, fit, probe, with_channels, write_png};

use crate::fixtures::{flat, gradient, message, png, says};

const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif];

fn read(bytes: &[u8]) -> Picture {
    decode("test", bytes, MAX_PIXELS).unwrap()
}

fn pixel(picture: &Picture, x: usize, y: usize) -> &[u8] {
    &picture.pixels[(y * picture.width + x) * picture.channels..][..picture.channels]
}

#[test]
fn five_formats_by_content() {
    for (format, name) in FORMATS.into_iter().zip(["PNG", "JPEG", "WebP", "BMP", "GIF"]) {
        let bytes = gradient(30, 20, format);
        let header = probe("wrong.txt", &bytes, MAX_PIXELS).unwrap();
        assert_eq!((header.format, header.width, header.height), (name, 30, 20));
        let picture = with_channels(read(&bytes), 3).unwrap();
        assert_eq!((picture.width, picture.height, picture.pixels.len()), (30, 20, 1800));
        assert!(pixel(&picture, 3, 10)[0] > 150 && pixel(&picture, 27, 10)[0] < 100, "{name}");
    }
}

#[test]
fn every_colour_type_becomes_8_bit() {
    let encode = |image: DynamicImage| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        read(&bytes.into_inner())
    };
    let grey16 = encode(DynamicImage::ImageLuma16(ImageBuffer::from_pixel(2, 1, image::Luma([0x8080]))));
    assert_eq!((grey16.channels, grey16.pixels.as_slice()), (1, [0x80, 0x80].as_slice()));
    let grey_alpha = encode(DynamicImage::ImageLumaA8(ImageBuffer::from_pixel(1, 1, image::LumaA([7, 9]))));
    assert_eq!((grey_alpha.channels, grey_alpha.pixels.as_slice()), (4, [7, 7, 7, 9].as_slice()));
    let rgba16 = encode(DynamicImage::ImageRgba16(ImageBuffer::from_pixel(1, 1, image::Rgba([65535, 257, 0, 514]))));
    assert_eq!((rgba16.channels, rgba16.pixels.as_slice()), (4, [255, 1, 0, 2].as_slice()));
    let rgb16 = encode(DynamicImage::ImageRgb16(ImageBuffer::from_pixel(1, 1, image::Rgb([65535, 257, 0]))));
    assert_eq!((rgb16.channels, rgb16.pixels.as_slice()), (3, [255, 1, 0].as_slice()));
}

/// The gradient as JPEG with an EXIF orientation of `value`.
fn oriented(value: u8) -> Vec<u8> {
    let jpeg = gradient(40, 20, ImageFormat::Jpeg);
    // TIFF, big endian, one directory entry: tag 0x0112, type SHORT, count 1, the value.
    let mut app1 = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    app1.extend([value, 0, 0, 0, 0, 0, 0]);
    assert_eq!(app1.len(), 2 + 0x22);
    [&jpeg[..2], &app1, &jpeg[2..]].concat()
}

#[test]
fn exif_orientation_is_obeyed() {
    let red = |picture: &Picture, x, y| pixel(picture, x, y)[0] > 120;
    let upright = read(&oriented(1));
    assert_eq!((upright.width, upright.height), (40, 20));
    assert!(red(&upright, 5, 10) && !red(&upright, 35, 10));
    let mirrored = read(&oriented(2));
    assert!(!red(&mirrored, 5, 10) && red(&mirrored, 35, 10));
    let turned = read(&oriented(6)); // to be turned clockwise: the left half comes to the top
    assert_eq!((turned.width, turned.height), (20, 40));
    assert!(red(&turned, 10, 5) && !red(&turned, 10, 35));
    let turned = read(&oriented(8));
    assert!(!red(&turned, 10, 5) && red(&turned, 10, 35));
    assert_eq!(read(&oriented(99)).width, 40, "nonsense is ignored");
}

#[test]
fn truncated_pictures_are_damaged() {
    for format in FORMATS {
        let bytes = gradient(64, 64, format);
        for keep in [bytes.len() / 4, bytes.len() / 2, bytes.len() * 9 / 10] {
            let error = message(decode("cut.png", &bytes[..keep], MAX_PIXELS));
            says(&error, &["cut.png", "damaged"]);
        }
    }
    // A thumbnail's end marker inside the EXIF data is not the picture's.
    let mut jpeg = oriented(1);
    jpeg.splice(4 + 0x20..4 + 0x20, [0xff, 0xd9]);
    jpeg[5] += 2;
    read(&jpeg);
    says(&message(decode("cut.jpg", &jpeg[..jpeg.len() - 200], MAX_PIXELS)), &["cut off"]);
}

#[test]
fn bombs_are_refused_unread() {
    // A forged header: 20000 x 20000 RGB, then almost nothing.
    let mut bytes = png(1, 1, &[1, 2, 3]);
    bytes[16..24].copy_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20]);
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = message(decode("bomb.png", &bytes, MAX_PIXELS));
    says(&error, &["bomb.png", "20000x20000", "400.0 megapixels", "limit of 50 megapixels", "max_pixels"]);
    says(&message(decode("x.png", &png(11, 10, &[1]), 100)), &["11x10", "limit"]);
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
    })
}

#[test]
fn things_that_are_no_pictures() {
    says(&message(decode("a.png", b"", MAX_PIXELS)), &["a.png", "empty"]);
    says(&message(decode("a.png", b"hello, this is text", MAX_PIXELS)), &["a.png", "PNG, JPEG, WebP"]);
}

#[test]
fn channels_convert_both_ways() {
    let convert = |pixel: &[u8], to| with_channels(flat(1, 1, pixel), to).unwrap().pixels;
    assert_eq!(convert(&[9], 3), [9, 9, 9]);
    assert_eq!(convert(&[9], 4), [9, 9, 9, 255]);
    assert_eq!(convert(&[1, 2, 3], 4), [1, 2, 3, 255]);
    assert_eq!(convert(&[255, 0, 0], 1), [76]); // 0.299 * 255, as PIL
    assert_eq!(convert(&[0, 255, 0], 1), [150]);
    assert_eq!(convert(&[0, 0, 0, 0], 3), [255, 255, 255]);
    assert_eq!(convert(&[0, 100, 200, 128], 3), [127, 177, 227]);
    assert_eq!(convert(&[8, 8, 8, 0], 1), [255]);
    says(&message(with_channels(flat(1, 1, &[1]), 2)), &["channels = 2", "1 (grey)"]);
}

#[test]
fn cover_crops_and_contain_pads() {
    // Three squares side by side: red, green, blue.
    let mut wide = flat(30, 10, &[0, 0, 0]);
    for (i, pixel) in wide.pixels.chunks_exact_mut(3).enumerate() {
        pixel[i % 30 / 10] = 255;
    }
    let cover = fit(&wide, [10, 10], Fit::Cover).unwrap();
    assert_eq!(cover, flat(10, 10, &[0, 255, 0]));
    let contain = fit(&wide, [15, 15], Fit::Contain).unwrap();
    assert_eq!((contain.width, contain.height), (15, 15));
    assert_eq!(pixel(&contain, 2, 4), [255, 255, 255]);
    assert_eq!(pixel(&contain, 1, 7), [255, 0, 0]);
    assert_eq!(pixel(&contain, 13, 7), [0, 0, 255]);
    assert_eq!(pixel(&fit(&flat(2, 9, &[5, 5, 5, 255]), [9, 9], Fit::Contain).unwrap(), 0, 0), [0, 0, 0, 0]);
    assert_eq!(fit(&wide, [10, 30], Fit::Contain).unwrap(), wide);
}

#[test]
fn odd_shapes_resize() {
    for (w, h) in [(1, 1), (1, 500), (500, 1), (3, 4000), (17, 13)] {
        for size in [[1, 1], [64, 32], [5, 90]] {
            for way in [Fit::Cover, Fit::Contain] {
                for c in [&[7][..], &[7, 8, 9], &[7, 8, 9, 255]] {
                    let out = fit(&flat(w, h, c), size, way).unwrap();
                    assert_eq!(
                        (out.height, out.width, out.pixels.len()),
                        (size[0], size[1], size[0] * size[1] * c.len())
                    );
                    if way == Fit::Cover {
                        assert!(out.pixels.chunks(c.len()).all(|p| p == c), "{w}x{h} to {size:?}");
                    }
                }
            }
        }
    }
    says(&message(fit(&flat(1, 1, &[1]), [0, 5], Fit::Cover)), &["0x5"]);
}

#[test]
fn hidden_colours_do_not_bleed() {
    // Transparent red beside opaque blue: the mean must be half transparent blue, without any red.
    let mut picture = flat(64, 64, &[0, 0, 255, 255]);
    for (i, pixel) in picture.pixels.chunks_exact_mut(4).enumerate() {
        if i % 2 == 0 {
            pixel.copy_from_slice(&[255, 0, 0, 0]);
        }
    }
    let out = fit(&picture, [8, 8], Fit::Cover).unwrap();
    for pixel in out.pixels.chunks_exact(4) {
        assert!(pixel[0] == 0 && pixel[2] >= 253 && pixel[3].abs_diff(128) < 12, "{pixel:?}");
    }
}

#[test]
fn png_round_trip_and_atomic_write() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("a.png");
    for pixel in [&[3][..], &[3, 4, 5], &[3, 4, 5, 6]] {
        let picture = flat(5, 7, pixel);
        write_png(&path, &picture).unwrap();
        assert_eq!(read(&std::fs::read(&path).unwrap()), picture);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    says(&message(write_png(folder.path().join("none/a.png"), &flat(1, 1, &[1]))), &["a.png"]);
    let wrong = Picture { pixels: vec![1], ..flat(2, 2, &[1]) };
    says(&message(encode_png(&wrong)), &["2x2", "1 samples"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn mutated_files_never_panic(
        which in 0..5_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = gradient(24, 16, FORMATS[which]);
        for (at, value) in &edits {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let caught = std::panic::catch_unwind(|| decode("mutated", &bytes, 1_000_000));
        if let Ok(picture) = caught.expect("no panic may escape") {
            prop_assert_eq!(picture.pixels.len(), picture.width * picture.height * picture.channels);
        }
    }
}

#[test]
fn cmyk_free_baseline_jpeg_of_grey_stays_grey() {
    let mut bytes = Vec::new();
    JpegEncoder::new(&mut bytes).encode(&[128; 64], 8, 8, image::ExtendedColorType::L8).unwrap();
    assert_eq!(read(&bytes).channels, 1);
}
