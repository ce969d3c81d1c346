//! Where pictures come from: a model, a data set brought to one size, or files as they are.

use std::path::Path;
use std::sync::Arc;

use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::mnist::Mnist;
use shenbi_data::scenes::{Scenes, ScenesOptions, Split};
use shenbi_data::{DataError, Picture, Source, convert, decode};
use shenbi_models::image::ImageModel;
use shenbi_models::text_to_image::painter::Painter;
use shenbi_nn::weights;
use shenbi_train::samples::noise;

use super::{Args, SEED};
use crate::data_source::SCENES;
use crate::failure::Failure;
use crate::output;

/// Pictures of a folder whose sizes are looked at.
const LOOKED_AT: usize = 32;

/// A picture, and its class where it has one.
pub type Labelled = (Picture, Option<usize>);

/// One side's pictures.
pub trait Set {
    /// What a protocol calls it.
    fn name(&self) -> String;

    /// How many there are; nothing where they never end.
    fn count(&self) -> Option<u64>;

    /// The names of the classes; empty where there are none.
    fn classes(&self) -> &[String];

    /// Height, width and channels; nothing where each has its own.
    fn shape(&self) -> Option<[usize; 3]>;

    /// The class of the picture at this place.
    fn class(&self, place: u64) -> Option<usize>;

    /// The pictures at these places.
    fn get(&self, places: &[u64]) -> Vec<Result<Labelled, DataError>>;
}

/// What a model of pictures makes; its classes take turns.
pub struct Generated<'a> {
    pub model: &'a ImageModel,
    pub seed: u64,
}

impl Set for Generated<'_> {
    fn name(&self) -> String {
        match self.model.config.classes.len() {
            0 => format!("generated/seed={}", self.seed),
            classes => format!("generated/{classes}-classes-equally/seed={}", self.seed),
        }
    }

    fn count(&self) -> Option<u64> {
        None
    }

    fn classes(&self) -> &[String] {
        &self.model.config.classes
    }

    fn shape(&self) -> Option<[usize; 3]> {
        let network = &self.model.config.network;
        Some([network.size(), network.size(), network.channels()])
    }

    fn class(&self, place: u64) -> Option<usize> {
        place.checked_rem(self.classes().len() as u64).map(|class| class as usize)
    }

    fn get(&self, places: &[u64]) -> Vec<Result<Labelled, DataError>> {
        let network = &self.model.config.network;
        let (size, channels) = (network.size(), network.channels());
        let of_classes: Vec<usize> = places.iter().map(|i| self.class(*i).unwrap_or(0)).collect();
        let noise = places.iter().flat_map(|i| noise(self.seed, "evaluate", *i, network.noise())).collect();
        let floats = weights::values(self.model.paint(noise, &of_classes)).data; // [b, c, h, w]
        let pictures = floats.chunks_exact(channels * size * size);
        let pictures = pictures.map(|floats| convert::from_floats(floats, channels, size, size));
        pictures.zip(places).map(|(picture, place)| Ok((picture, self.class(*place)))).collect()
    }
}

/// What a painter makes of the captions of a data set, `each` pictures of one caption in a row; a picture's captions take
/// turns.
pub struct Painted<'a> {
    pub painter: &'a Painter,
    pub source: Arc<dyn Source>,
    pub name: String,
    pub seed: u64,
    pub each: u64,
}

impl Set for Painted<'_> {
    fn name(&self) -> String {
        let each = if self.each > 1 { format!("/{}-a-caption", self.each) } else { String::new() };
        format!("painted-of-captions{each}/seed={}", self.seed)
    }

    fn count(&self) -> Option<u64> {
        self.source.len().map(|len| len.saturating_mul(self.each))
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn shape(&self) -> Option<[usize; 3]> {
        let network = &self.painter.config.network;
        let [height, width] = network.size();
        Some([height, width, network.channels()])
    }

    /// Pictures of one caption belong together.
    fn class(&self, place: u64) -> Option<usize> {
        (self.each > 1).then_some((place / self.each) as usize)
    }

    fn get(&self, places: &[u64]) -> Vec<Result<Labelled, DataError>> {
        let [h, w, c] = self.shape().unwrap_or_default();
        let dim = self.painter.config.network.noise();
        let one = |place: &u64| {
            let prompt = caption(self.source.as_ref(), *place / self.each)?;
            let floats = self.painter.paint(&[prompt], noise(self.seed, "evaluate", *place, dim));
            let floats = floats.map_err(|error| DataError::file(&self.name, error.to_string()))?;
            Ok((convert::from_floats(&weights::values(floats).data, c, h, w), None))
        };
        places.iter().map(one).collect()
    }
}

/// One of the captions of a picture: they take turns.
pub fn caption(source: &dyn Source, place: u64) -> Result<String, DataError> {
    let captions = source.captions(place)?;
    let turn = (place % captions.len().max(1) as u64) as usize;
    Ok(captions.into_iter().nth(turn).unwrap_or_default())
}

/// A data set at one size, with one number of channels.
pub struct Sourced {
    pub source: Arc<dyn Source>,
    pub name: String,
}

impl Set for Sourced {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn count(&self) -> Option<u64> {
        self.source.len()
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn shape(&self) -> Option<[usize; 3]> {
        let [height, width] = self.source.size();
        Some([height, width, self.source.channels()])
    }

    fn class(&self, place: u64) -> Option<usize> {
        self.source.class(place)
    }

    fn get(&self, places: &[u64]) -> Vec<Result<Labelled, DataError>> {
        let one = |i: &u64| Ok((self.source.get(*i)?.picture, self.source.class(*i)));
        places.iter().map(one).collect()
    }
}

/// Picture files at their own sizes, in colour, as other tools read them.
pub struct Originals {
    pub folder: Folder,
    name: String,
}

impl Set for Originals {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn count(&self) -> Option<u64> {
        Some(self.folder.count() as u64)
    }

    fn classes(&self) -> &[String] {
        self.folder.classes()
    }

    fn shape(&self) -> Option<[usize; 3]> {
        None
    }

    fn class(&self, place: u64) -> Option<usize> {
        usize::try_from(place).ok().and_then(|place| self.folder.class(place))
    }

    fn get(&self, places: &[u64]) -> Vec<Result<Labelled, DataError>> {
        let one = |i: &u64| {
            let i = usize::try_from(*i).unwrap_or(usize::MAX);
            Ok((decode::with_channels(self.folder.original(i)?, 3)?, self.folder.class(i)))
        };
        places.iter().map(one).collect()
    }
}

/// A folder or archive at `flag`, opened with the pictures' own sizes unless one is given. split: only its pictures.
fn open_folder(
    flag: &str,
    path: &Path,
    shape: Option<[usize; 3]>,
    split: Option<&str>,
) -> Result<(Folder, String), Failure> {
    if !path.exists() {
        return Err(Failure::Failed(format!("{flag} {}: no such folder or archive", path.display())));
    }
    let open = |split: Option<&str>| {
        let mut options = FolderOptions { captions_required: false, ..FolderOptions::default() };
        options.split = split.map(str::to_string);
        if let Some([height, width, channels]) = shape {
            (options.size, options.channels) = ([height, width], Some(channels));
        }
        Folder::open(path, &options)
    };
    // Data without splits is used whole.
    let (folder, split) = match split {
        None => (open(None)?, "all"),
        Some(split) => match open(Some(split)) {
            Ok(folder) => (folder, split),
            Err(_) if split == "train" => (open(None)?, "all"),
            Err(error) => return Err(error.into()),
        },
    };
    Ok((folder, format!("{}:{split}", path.display())))
}

/// The pictures of `--images`: at the size and with the channels of the first, or as they are.
pub fn images(path: &Path, as_they_are: bool) -> Result<Box<dyn Set>, Failure> {
    let (folder, name) = open_folder("--images", path, None, None)?;
    let name = format!("images={name}");
    if as_they_are {
        return Ok(Box::new(Originals { folder, name }));
    }
    let some = (0..folder.count()).step_by((folder.count() / LOOKED_AT).max(1));
    let mut sizes = some.filter_map(|i| folder.original(i).ok()).map(|picture| [picture.height, picture.width]);
    let size = sizes.next().unwrap_or([64, 64]);
    if let Some([h, w]) = sizes.find(|other| *other != size) {
        output::note(&format!(
            "warning: --images {}: pictures of several sizes ({}x{}, {h}x{w}, ...); all are brought to the first, as for \
             training; --compat leaves each as it is",
            path.display(),
            size[0],
            size[1]
        ));
    }
    let shape = [size[0], size[1], Source::channels(&folder)];
    let (folder, _) = open_folder("--images", path, Some(shape), None)?;
    Ok(Box::new(Sourced { source: Arc::new(folder), name }))
}

/// The pictures of `--images`, as they are, with their captions.
pub fn captioned_images(args: &Args, path: &Path) -> Result<Originals, Failure> {
    let options = FolderOptions { caption_columns: args.caption_columns.clone(), ..FolderOptions::default() };
    Ok(Originals { folder: Folder::open(path, &options)?, name: format!("images={}:all", path.display()) })
}

/// The captioned data of a painter's pictures, and what to call it.
pub fn captioned(args: &Args, painter: &Painter) -> Result<(Arc<dyn Source>, String), Failure> {
    let network = &painter.config.network;
    let ([height, width], channels) = (network.size(), network.channels());
    if args.data == SCENES
        && let Ok(scenes) = source(args, Some([height, width, channels]), &args.split)?
    {
        return Ok(scenes);
    }
    let open = |split: Option<&str>| {
        let options = FolderOptions {
            size: network.size(),
            channels: Some(channels),
            caption_columns: args.caption_columns.clone(),
            split: split.map(str::to_string),
            ..FolderOptions::default()
        };
        Folder::open(Path::new(&args.data), &options)
    };
    let (folder, split) = match open(Some(&args.split)) {
        Ok(folder) => (folder, args.split.as_str()),
        Err(_) if args.split == "train" => (open(None)?, "all"),
        Err(error) => return Err(error.into()),
    };
    Ok((Arc::new(folder), format!("{}:{split}", args.data)))
}

/// The data at a shape (of its own first picture where there is none), or as it is. split: only its pictures.
pub fn data(args: &Args, shape: Option<[usize; 3]>, split: &str, as_they_are: bool) -> Result<Box<dyn Set>, Failure> {
    Ok(match source(args, shape, split)? {
        Ok((source, name)) => Box::new(Sourced { source, name }),
        Err(path) if as_they_are => {
            let (folder, name) = open_folder("--data", path, None, Some(split))?;
            Box::new(Originals { folder, name })
        }
        Err(path) => {
            let shape = match shape {
                Some(shape) => shape,
                None => {
                    let (folder, _) = open_folder("--data", path, None, Some(split))?;
                    let first = (0..folder.count()).find_map(|i| folder.original(i).ok());
                    let [height, width] = first.map_or([64, 64], |picture| [picture.height, picture.width]);
                    [height, width, Source::channels(&folder)]
                }
            };
            let (folder, name) = open_folder("--data", path, Some(shape), Some(split))?;
            Box::new(Sourced { source: Arc::new(folder), name })
        }
    })
}

/// The data that is no folder of pictures: scenes or MNIST's files; else the folder's path.
#[expect(clippy::type_complexity, reason = "one of two, used in one place")]
fn source<'a>(
    args: &'a Args,
    shape: Option<[usize; 3]>,
    split: &str,
) -> Result<Result<(Arc<dyn Source>, String), &'a Path>, Failure> {
    let [height, width, channels] = shape.unwrap_or([32, 32, if args.data == SCENES { 3 } else { 1 }]);
    let size = [height, width];
    if args.data == SCENES {
        let scenes = Scenes::new(ScenesOptions { size, level: args.level, seed: SEED, split: Split::Train })?;
        return Ok(Ok((Arc::new(scenes), format!("scenes-{:?}", args.level).to_lowercase())));
    }
    let path = Path::new(&args.data);
    if Mnist::is_in(path) {
        if split != "train" {
            return Err(Failure::usage(format!("--data {}: MNIST's files are not read by split", args.data)));
        }
        // A model of RGB has learnt from three digits at a time.
        let stacked = (channels == 3).then_some(SEED);
        let name = if stacked.is_some() { "mnist-stacked" } else { "mnist" };
        return Ok(Ok((Arc::new(Mnist::open(path, size, stacked)?), format!("{name}:{}", args.data))));
    }
    Ok(Err(path))
}
