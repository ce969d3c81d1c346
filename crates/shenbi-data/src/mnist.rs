//! MNIST's files (`*-images-idx3-ubyte` and `*-labels-idx1-ubyte`, plain or .gz), and Stacked-MNIST: three random
//! digits as red, green and blue, whose 1,000 combinations show how many modes a GAN knows (1611.02163, section 3.3.1).

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::decode::{self, Fit};
use crate::{DataError, Example, Picture, Result, Source, rng};

/// Bytes of a file, unpacked, at most: more than EMNIST's largest.
const MOST: u64 = 1 << 30;

/// Digits from a folder.
pub struct Mnist {
    images: Vec<u8>,
    labels: Vec<u8>,
    side: [usize; 2], // of the files
    size: [usize; 2], // handed out
    stacked: Option<u64>,
    classes: Vec<String>,
}

impl Mnist {
    /// Whether a folder holds such files.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        find(folder, "images-idx3-ubyte").is_some_and(|files| !files.is_empty())
    }

    /// Reads all pictures of a folder, at `size`. stacked: draw three at a time, endlessly, with this seed.
    ///
    /// # Errors
    /// A file is missing, damaged or too large; the error names it.
    pub fn open(folder: &Path, size: [usize; 2], stacked: Option<u64>) -> Result<Self> {
        let none =
            || DataError::file(folder, "no files named *-images-idx3-ubyte or *-images-idx3-ubyte.gz".to_string());
        let files = find(folder, "images-idx3-ubyte").filter(|files| !files.is_empty()).ok_or_else(none)?;
        let (mut images, mut labels, mut side) = (Vec::new(), Vec::new(), None);
        for path in files {
            let (header, pixels) = read(&path, 3)?;
            let [_, h, w] = header[..] else { return Err(DataError::file(&path, "not three dimensions".to_string())) };
            if *side.get_or_insert([h, w]) != [h, w] || h == 0 || w == 0 {
                return Err(DataError::file(&path, format!("its pictures are {h}x{w}, unlike the other files'")));
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let beside = path.with_file_name(name.replace("images-idx3", "labels-idx1"));
            let (count, of_file) = read(&beside, 1)?;
            if count[0] != header[0] {
                return Err(DataError::file(&beside, format!("{} labels for {} pictures", count[0], header[0])));
            }
            images.extend(pixels);
            labels.extend(of_file);
        }
        let (Some(side), false) = (side, labels.is_empty()) else { return Err(none()) };
        let most = labels.iter().copied().max().unwrap_or(0);
        let classes = if stacked.is_some() { Vec::new() } else { (0..=most).map(|digit| digit.to_string()).collect() };
        Ok(Self { images, labels, side, size, stacked, classes })
    }

    /// Number of digits in the files.
    #[must_use]
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    fn digit(&self, index: usize) -> &[u8] {
        let each = self.side[0] * self.side[1];
        &self.images[index * each..(index + 1) * each]
    }

    /// The digits of the example at `index`.
    fn places(&self, index: u64) -> Result<Vec<usize>> {
        let count = self.count() as u64;
        match self.stacked {
            Some(seed) => {
                let mut stream = rng::stream(seed, "stacked", index);
                Ok((0..3).map(|_| rng::below(&mut stream, count) as usize).collect())
            }
            None if index < count => Ok(vec![index as usize]),
            None => Err(DataError::Setting(format!("there is no picture {index}: the last is {}", count - 1))),
        }
    }
}

impl Source for Mnist {
    fn len(&self) -> Option<u64> {
        self.stacked.is_none().then_some(self.count() as u64)
    }

    fn get(&self, index: u64) -> Result<Example> {
        let places = self.places(index)?;
        let ([height, width], channels) = (self.side, places.len());
        let mut pixels = vec![0; height * width * channels];
        for (channel, place) in places.iter().enumerate() {
            for (pixel, value) in pixels.chunks_exact_mut(channels).zip(self.digit(*place)) {
                pixel[channel] = *value;
            }
        }
        let picture = decode::fit(&Picture { width, height, channels, pixels }, self.size, Fit::Cover)?;
        let digits: Vec<String> = places.iter().map(|place| self.labels[*place].to_string()).collect();
        Ok(Example { picture, captions: vec![digits.join(" ")] })
    }

    fn class(&self, index: u64) -> Option<usize> {
        if self.stacked.is_some() { None } else { self.labels.get(index as usize).map(|label| usize::from(*label)) }
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn channels(&self) -> usize {
        if self.stacked.is_some() { 3 } else { 1 }
    }

    fn size(&self) -> [usize; 2] {
        self.size
    }
}

/// The files of a folder whose names end so, with or without .gz, in alphabetical order.
fn find(folder: &Path, ending: &str) -> Option<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_suffix(".gz").unwrap_or(&name).ends_with(ending)
        })
        .collect();
    files.sort();
    Some(files)
}

/// The dimensions and the bytes of an idx file of bytes with so many dimensions.
fn read(path: &Path, dimensions: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let wrong = |message: String| DataError::file(path, message);
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    let read = if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::GzDecoder::new(file).take(MOST + 1).read_to_end(&mut bytes)
    } else {
        file.take(MOST + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| wrong(format!("{error}: damaged, copy it again")))?;
    if bytes.len() as u64 > MOST {
        return Err(wrong(format!("more than {MOST} bytes")));
    }
    let start = 4 + 4 * dimensions;
    let (Some(head), Some(magic)) = (bytes.get(4..start), bytes.get(..4)) else {
        return Err(wrong("shorter than the header of an idx file".to_string()));
    };
    if magic != [0, 0, 8, dimensions as u8] {
        return Err(wrong(format!("no idx file of bytes in {dimensions} dimensions")));
    }
    let sizes: Vec<usize> =
        head.chunks_exact(4).map(|four| four.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))).collect();
    let expected = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if expected != Some(bytes.len() - start) {
        let found = bytes.len() - start;
        return Err(wrong(format!("{found} bytes of data where its header says {sizes:?}: damaged, copy it again")));
    }
    Ok((sizes, bytes.split_off(start)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(folder: &Path, images: &[u8], labels: &[u8]) {
        let n = labels.len() as u8;
        let head = [0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 2, 0, 0, 0, 2];
        std::fs::write(folder.join("t-images-idx3-ubyte"), [&head[..], images].concat()).unwrap();
        std::fs::write(folder.join("t-labels-idx1-ubyte"), [&[0, 0, 8, 1, 0, 0, 0, n][..], labels].concat()).unwrap();
    }

    #[test]
    fn reads_digits_and_stacks_them() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[0, 50, 100, 150, 200, 210, 220, 230], &[3, 1]);
        let mnist = Mnist::open(folder.path(), [2, 2], None).unwrap();
        assert_eq!((mnist.len(), mnist.channels(), mnist.classes().len()), (Some(2), 1, 4));
        assert_eq!((mnist.get(0).unwrap().picture.pixels, mnist.class(0)), (vec![0, 50, 100, 150], Some(3)));
        assert!(mnist.get(2).is_err());
        let stacked = Mnist::open(folder.path(), [2, 2], Some(1)).unwrap();
        let example = stacked.get(5).unwrap();
        assert_eq!((stacked.len(), example.picture.channels, example.captions[0].len()), (None, 3, 5));
    }

    #[test]
    fn damaged_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |images: &[u8], labels: &[u8]| {
            write(folder.path(), images, labels);
            Mnist::open(folder.path(), [2, 2], None).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(error(&[0; 7], &[3, 1]).contains("t-images-idx3-ubyte"));
        std::fs::write(folder.path().join("t-images-idx3-ubyte"), [0, 0, 8]).unwrap();
        assert!(Mnist::open(folder.path(), [2, 2], None).err().unwrap().to_string().contains("shorter"));
        assert!(!Mnist::is_in(&folder.path().join("absent")));
    }
}
