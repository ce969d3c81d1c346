use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shenbi_data::loader::{Batch, Loader, LoaderOptions};
use shenbi_data::{DataError, Example, Picture, Result, Source};

use crate::fixtures::{Files, flat, message, open, says};

/// Pictures that show their index.
#[derive(Default)]
struct Counting {
    count: Option<u64>,
    reads: AtomicU64,
    panics_at: Option<u64>,
    fails_at: Option<u64>,
    slow: bool,
}

impl Source for Counting {
    fn len(&self) -> Option<u64> {
        self.count
    }

    fn get(&self, index: u64) -> Result<Example> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.slow {
            // Later batches would overtake earlier ones if the loader let them.
            std::thread::sleep(Duration::from_millis(3 * (7 - index % 8)));
        }
        assert_ne!(self.panics_at, Some(index), "a bug in a source");
        if self.fails_at == Some(index) {
            return Err(DataError::Setting(format!("no example {index}")));
        }
        let mut picture = flat(3, 2, &[0, 0, 0]);
        picture.pixels[..3].copy_from_slice(&[index as u8, (index >> 8) as u8, 255]);
        Ok(Example { picture, captions: vec![format!("number {index}")] })
    }

    fn channels(&self) -> usize {
        3
    }

    fn size(&self) -> [usize; 2] {
        [2, 3]
    }
}

fn batches(source: &Arc<Counting>, options: &LoaderOptions, count: usize) -> Vec<Batch> {
    let mut loader = Loader::new(Arc::clone(source) as Arc<dyn Source>, options.clone()).unwrap();
    let batches = (0..count).map(|_| loader.next_batch().unwrap()).collect();
    assert_eq!(loader.position(), options.start + (count * options.batch) as u64);
    batches
}

fn finite(count: u64) -> Arc<Counting> {
    Arc::new(Counting { count: Some(count), ..Counting::default() })
}

#[test]
fn order_depends_on_the_seed_alone() {
    let options = LoaderOptions { batch: 4, seed: 5, flip: true, threads: 1, ..LoaderOptions::default() };
    let one = batches(&finite(10), &options, 8);
    for threads in [2, 3, 7] {
        let slow = Arc::new(Counting { count: Some(10), slow: true, ..Counting::default() });
        assert_eq!(batches(&slow, &LoaderOptions { threads, ..options.clone() }, 8), one, "{threads} threads");
        let uncached = LoaderOptions { threads, cache_bytes: 0, ..options.clone() };
        assert_eq!(batches(&finite(10), &uncached, 8), one);
    }
    assert_ne!(batches(&finite(10), &LoaderOptions { seed: 6, ..options.clone() }, 8), one);
    // Continuing after any number of examples, also with another batch size.
    let all: Vec<u64> = one.iter().flat_map(|b| b.indices.clone()).collect();
    for start in [4, 8, 9, 17] {
        let resumed = batches(&finite(10), &LoaderOptions { start, ..options.clone() }, 2);
        let indices: Vec<u64> = resumed.iter().flat_map(|b| b.indices.clone()).collect();
        assert_eq!(indices, all[start as usize..start as usize + 8]);
    }
    let resumed = batches(&finite(10), &LoaderOptions { start: 8, ..options }, 6);
    assert_eq!(resumed, one[2..]);
}

#[test]
fn an_epoch_is_a_permutation_and_epochs_differ() {
    let options = LoaderOptions { batch: 50, threads: 2, ..LoaderOptions::default() };
    let epochs = batches(&finite(50), &options, 3);
    for epoch in &epochs {
        let mut sorted = epoch.indices.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<u64>>());
    }
    assert!(epochs[0].indices != epochs[1].indices && epochs[1].indices != epochs[2].indices);
    assert_ne!(epochs[0].indices, (0..50).collect::<Vec<u64>>());
}

#[test]
fn batches_larger_than_the_data_wrap() {
    let options = LoaderOptions { batch: 23, threads: 2, ..LoaderOptions::default() };
    let batch = &batches(&finite(3), &options, 1)[0];
    assert_eq!(batch.shape, [23, 3, 2, 3]);
    for epoch in batch.indices.chunks_exact(3) {
        assert_eq!(epoch.iter().sum::<u64>(), 3, "{epoch:?}");
    }
}

#[test]
fn endless_sources_are_walked_in_order() {
    let options = LoaderOptions { batch: 3, threads: 2, start: 100, ..LoaderOptions::default() };
    let batches = batches(&Arc::new(Counting::default()), &options, 2);
    assert_eq!(batches[0].indices, [100, 101, 102]);
    assert_eq!(batches[1].indices, [103, 104, 105]);
    assert_eq!(batches[1].captions[2], ["number 105"]);
}

#[test]
fn pixels_are_planar_and_flips_are_fair() {
    let options = LoaderOptions { batch: 400, flip: true, threads: 2, ..LoaderOptions::default() };
    let source = finite(200);
    let batch = &batches(&source, &options, 1)[0];
    let mut flipped = 0;
    for (pixels, &index) in batch.pixels.chunks_exact(18).zip(&batch.indices) {
        // The marked pixel is at the left of the first row, or at its right if mirrored.
        let at = usize::from(pixels[12] < 0.0) * 2;
        assert_eq!(pixels[12 + at], 1.0);
        assert!((pixels[at] - (index as f32 / 127.5 - 1.0)).abs() < 1e-6);
        flipped += usize::from(at == 2);
    }
    assert!((150..250).contains(&flipped), "{flipped} of 400");
    let straight = &batches(&source, &LoaderOptions { flip: false, ..options }, 1)[0];
    assert!(straight.pixels.chunks_exact(18).all(|pixels| pixels[12] == 1.0));
}

#[test]
fn later_epochs_come_from_memory() {
    let source = finite(40);
    let options = LoaderOptions { batch: 10, threads: 1, ..LoaderOptions::default() };
    batches(&source, &options, 20);
    assert_eq!(source.reads.load(Ordering::Relaxed), 40);
    let source = finite(40);
    batches(&source, &LoaderOptions { cache_bytes: 2000, ..options }, 20);
    assert!(source.reads.load(Ordering::Relaxed) > 100, "the budget is kept");
}

#[test]
fn panics_and_failures_are_errors() {
    for threads in [1, 3] {
        let options = LoaderOptions { batch: 2, threads, ..LoaderOptions::default() };
        let source = Arc::new(Counting { panics_at: Some(5), ..Counting::default() });
        let mut loader = Loader::new(source, options.clone()).unwrap();
        assert!(loader.next_batch().is_ok() && loader.next_batch().is_ok());
        says(&message(loader.next_batch()), &["panicked", "a bug in a source"]);

        let source = Arc::new(Counting { fails_at: Some(1), ..Counting::default() });
        let mut loader = Loader::new(source, options.clone()).unwrap();
        says(&message(loader.next_batch()), &["no example 1"]);
        if threads == 1 {
            says(&message(loader.next_batch()), &["ended"]);
        }

        let source = Arc::new(Counting { count: Some(3), fails_at: Some(1), ..Counting::default() });
        let mut loader = Loader::new(source, options).unwrap();
        (0..30).for_each(|_| assert!(!loader.next_batch().unwrap().indices.contains(&1)));
        assert_eq!(loader.skipped().first, ["no example 1"]);
    }
    says(&message(Loader::new(finite(0), LoaderOptions::default())), &["no pictures"]);
}

#[test]
fn dropping_is_prompt() {
    struct Slow;
    impl Source for Slow {
        fn len(&self) -> Option<u64> {
            None
        }
        fn get(&self, _: u64) -> Result<Example> {
            std::thread::sleep(Duration::from_millis(5));
            Ok(Example { picture: flat(1, 1, &[1]), captions: vec![String::new()] })
        }
        fn channels(&self) -> usize {
            1
        }
        fn size(&self) -> [usize; 2] {
            [1, 1]
        }
    }
    let options = LoaderOptions { batch: 2000, threads: 3, ..LoaderOptions::default() }; // a batch takes 10 s
    let loader = Loader::new(Arc::new(Slow), options).unwrap();
    let begin = Instant::now();
    drop(loader);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn a_folder_and_its_archive_give_the_same_batches() {
    let files = Files::numbered(9);
    let [dir, zip] = files.both().map(|path| {
        let options = LoaderOptions { batch: 4, seed: 3, threads: 2, ..LoaderOptions::default() };
        let mut loader = Loader::new(Arc::new(open(&path)), options).unwrap();
        (0..5).map(|_| loader.next_batch().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(dir, zip);
    let picture = Picture { width: 4, height: 4, channels: 3, pixels: [dir[0].indices[0] as u8, 100, 200].repeat(16) };
    assert_eq!(dir[0].pixels[..48], shenbi_data::convert::to_floats(&picture));
}
