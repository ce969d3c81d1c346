//! Batches from a [`Source`], prepared in worker threads, in an order that depends on the seed alone.
//!
//! The example at position `p` (counted over the whole training) is a pure function of `(seed, p)`: a finite source is
//! walked epoch by epoch, each in its own random order, an endless one takes the index `p`. So a loader started at
//! `start = k` continues as one that has delivered `k` examples, and threads change the speed only.
//!
//! Worker `w` of `t` prepares the batches `w, w + t, w + 2t, ...` and hands them over through its own short channel;
//! the receiving side goes round the channels. Decoded pictures stay in memory up to a budget.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rand_chacha::rand_core::Rng;

use crate::{DataError, Picture, Result, Source, convert, rng};

/// Settings of a [`Loader`].
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Examples in a batch. May exceed the data set: a batch then spans epochs.
    pub batch: usize,
    /// Decides the order and the flips.
    pub seed: u64,
    /// Mirror every second picture, at random. Wrong where captions say left or right, or pictures hold text.
    pub flip: bool,
    /// Worker threads; 0: one for each core, at most 4.
    pub threads: usize,
    /// Examples that were already consumed: where to continue.
    pub start: u64,
    /// Memory for decoded pictures, so that later epochs need not decode again.
    pub cache_bytes: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { batch: 32, seed: 0, flip: false, threads: 0, start: 0, cache_bytes: 1 << 30 }
    }
}

/// Examples ready for training.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[b, c, h, w]` in [-1, 1]; RGBA premultiplied (see [`convert`]).
    pub pixels: Vec<f32>,
    /// b, c, h, w
    pub shape: [usize; 4],
    /// The captions of each example, at least one.
    pub captions: Vec<Vec<String>>,
    /// What is false of each example, a text for each caption (see [`Source::contraries`]); or none.
    pub contraries: Vec<Vec<String>>,
    /// The class of each example; empty where the source has no classes.
    pub classes: Vec<usize>,
    /// The index of each example in the source.
    pub indices: Vec<u64>,
}

/// Pictures that could not be read and were replaced by the next one that could.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// How many distinct pictures, so far.
    pub count: usize,
    /// What was wrong with the first ten by index; each names its file.
    pub first: Vec<String>,
}

/// Hands out batches for ever. Dropping it ends its threads.
pub struct Loader {
    shared: Arc<Shared>,
    receivers: Vec<Receiver<Result<Batch>>>,
    workers: Vec<JoinHandle<()>>,
    delivered: u64, // batches
}

impl Loader {
    /// Starts the workers.
    ///
    /// # Errors
    /// An empty source, a batch of 0, or no threads to be had.
    pub fn new(source: Arc<dyn Source>, options: LoaderOptions) -> Result<Self> {
        if options.batch == 0 {
            return Err(DataError::Setting("batch = 0: a batch needs at least one example".to_string()));
        }
        if source.len() == Some(0) {
            return Err(DataError::Setting("the data set has no pictures".to_string()));
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let threads = if options.threads == 0 { cores() } else { options.threads };
        let shared = Arc::new(Shared {
            source,
            options,
            stop: AtomicBool::new(false),
            orders: Mutex::default(),
            cache: Mutex::default(),
            bad: Mutex::default(),
        });
        let mut loader = Self { shared, receivers: Vec::new(), workers: Vec::new(), delivered: 0 };
        for first in 0..threads as u64 {
            let (sender, receiver) = sync_channel(1);
            let shared = Arc::clone(&loader.shared);
            let worker = std::thread::Builder::new()
                .name(format!("loader-{first}"))
                .spawn(move || shared.work(first, threads as u64, &sender))
                .map_err(|e| DataError::Worker(format!("no thread could be started: {e}")))?;
            loader.receivers.push(receiver);
            loader.workers.push(worker);
        }
        Ok(loader)
    }

    /// The next batch; waits for it where the workers are behind.
    ///
    /// # Errors
    /// An endless source failed, not one picture of a finite one is readable, or a worker panicked. After an error the
    /// loader is at its end.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let turn = (self.delivered % self.receivers.len() as u64) as usize;
        match self.receivers[turn].recv() {
            Ok(batch) => {
                self.delivered += 1;
                batch
            }
            Err(_) => Err(DataError::Worker("its thread has ended after an earlier error".to_string())),
        }
    }

    /// Examples consumed so far, `start` included: the `start` to continue from.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.options.start + self.delivered * self.shared.options.batch as u64
    }

    /// The pictures that could not be read so far (workers run a few batches ahead).
    #[must_use]
    pub fn skipped(&self) -> Unreadable {
        let bad = lock(&self.shared.bad);
        Unreadable { count: bad.len(), first: bad.values().take(10).cloned().collect() }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.receivers.clear(); // wakes the workers that wait to send
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // a panic was reported as an error
        }
    }
}

/// What a cached or fresh example consists of.
type Cached = Arc<(Picture, Vec<String>)>;

struct Shared {
    source: Arc<dyn Source>,
    options: LoaderOptions,
    stop: AtomicBool,
    /// The order of the last few epochs.
    orders: Mutex<VecDeque<(u64, Arc<Vec<u64>>)>>,
    /// Examples in memory, and their bytes.
    cache: Mutex<(HashMap<u64, Cached>, usize)>,
    /// What is wrong with unreadable pictures.
    bad: Mutex<BTreeMap<u64, String>>,
}

impl Shared {
    fn work(&self, first: u64, step: u64, sender: &SyncSender<Result<Batch>>) {
        let mut number = first;
        while !self.stop.load(Ordering::Relaxed) {
            let batch = catch_unwind(AssertUnwindSafe(|| self.batch(number))).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                Err(DataError::Worker(format!("a worker panicked: {text}")))
            });
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
            number += step;
        }
    }

    /// Batch number `number` of this loader.
    fn batch(&self, number: u64) -> Result<Batch> {
        let size = self.options.batch;
        let [height, width] = self.source.size();
        let channels = self.source.channels();
        let each = channels * height * width;
        let mut pixels = vec![0.0; size * each]; // [b, c, h, w]
        let mut captions = Vec::with_capacity(size);
        let mut indices = Vec::with_capacity(size);
        let first = self.options.start + number * size as u64;
        for (position, out) in (first..).zip(pixels.chunks_exact_mut(each)) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(DataError::Worker("it was dropped".to_string()));
            }
            let (index, example) = self.example(self.index_at(position))?;
            let (picture, texts) = &*example;
            if [picture.channels, picture.height, picture.width] != [channels, height, width] {
                let Picture { channels: c, height: h, width: w, .. } = picture;
                let message = format!("example {index} is {c}x{h}x{w}, expected {channels}x{height}x{width}");
                return Err(DataError::Worker(message));
            }
            let flip = self.options.flip && rng::stream(self.options.seed, "flip", position).next_u64() & 1 == 1;
            convert::write_floats(picture, flip, out);
            captions.push(texts.clone());
            indices.push(index);
        }
        let classes = indices.iter().filter_map(|index| self.source.class(*index)).collect();
        let contraries = indices.iter().map(|index| self.source.contraries(*index)).collect::<Result<_>>()?;
        Ok(Batch { pixels, shape: [size, channels, height, width], captions, contraries, classes, indices })
    }

    /// The index of the example at `position`.
    fn index_at(&self, position: u64) -> u64 {
        let Some(count) = self.source.len() else { return position };
        let epoch = position / count;
        let mut orders = lock(&self.orders);
        let known = orders.iter().find(|(e, _)| *e == epoch).map(|(_, order)| Arc::clone(order));
        let order = known.unwrap_or_else(|| {
            let mut order: Vec<u64> = (0..count).collect();
            rng::shuffle(&mut rng::stream(self.options.seed, "order", epoch), &mut order);
            let order = Arc::new(order);
            if orders.len() == 4 {
                orders.pop_front();
            }
            orders.push_back((epoch, Arc::clone(&order)));
            order
        });
        order[(position % count) as usize]
    }

    /// The example at `index`, or the next readable one.
    fn example(&self, index: u64) -> Result<(u64, Cached)> {
        let Some(count) = self.source.len() else {
            let example = self.source.get(index)?;
            return Ok((index, Arc::new((example.picture, example.captions))));
        };
        for index in (index..count).chain(0..index) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(DataError::Worker("it was dropped".to_string()));
            }
            if let Some(cached) = lock(&self.cache).0.get(&index) {
                return Ok((index, Arc::clone(cached)));
            }
            if lock(&self.bad).contains_key(&index) {
                continue;
            }
            match self.source.get(index) {
                Ok(example) => {
                    let example = Arc::new((example.picture, example.captions));
                    self.keep(index, &example);
                    return Ok((index, example));
                }
                Err(e) => drop(lock(&self.bad).insert(index, e.to_string())),
            }
        }
        let first = lock(&self.bad).values().next().cloned().unwrap_or_default();
        Err(DataError::Setting(format!("none of the {count} pictures can be read; the first: {first}")))
    }

    /// Caches the example if the budget allows. Nothing is ever thrown out: with random orders over more data than
    /// memory, what stays is as good as what would come.
    fn keep(&self, index: u64, example: &Cached) {
        let bytes = example.0.pixels.len() + example.1.iter().map(|c| c.len() + 24).sum::<usize>() + 128;
        let (examples, used) = &mut *lock(&self.cache);
        if *used + bytes <= self.options.cache_bytes && examples.insert(index, Arc::clone(example)).is_none() {
            *used += bytes;
        }
    }
}

/// A panic in another worker leaves these maps whole: each change is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
