//! A run folder: all that there is to a run.
//!
//! ```text
//! runs/00001-brush/
//!   config.toml               every setting, resolved
//!   log.jsonl                 one JSON object a line
//!   events.out.tfevents.*     the same curves for TensorBoard
//!   samples/00012345.png      after so many pictures
//!   checkpoints/00001000/     see `checkpoint`
//!   .lock                     held by the process that writes here
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::write_atomic;
use crate::checkpoint::{self, Checkpoint, Latest};
use crate::error::{Result, RunError};
use crate::tensorboard::Events;

const CONFIG: &str = "config.toml";
const LOG: &str = "log.jsonl";
const SAMPLES: &str = "samples";
const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".lock";

/// The folder of a run, open for writing by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    recipe: String,
    log: File,
    events: Option<Events>,
    /// The step that the run was taken up from, until the first curve is drawn.
    resumed: Option<u64>,
    /// Locked while the value lives; the system lets go of it even if the process is killed.
    _lock: File,
}

impl RunFolder {
    /// `parent/00001-name`, with the next number that is free. Nothing is created.
    pub fn next(parent: &Path, name: &str) -> PathBuf {
        let number = |entry: io::Result<std::fs::DirEntry>| -> Option<u64> {
            entry.ok()?.file_name().to_str()?.split_once('-')?.0.parse().ok()
        };
        let last = std::fs::read_dir(parent).ok().and_then(|entries| entries.filter_map(number).max()).unwrap_or(0);
        parent.join(format!("{:05}-{name}", last + 1))
    }

    /// A new run folder at `path` with these settings, whose `recipe` key names the recipe.
    ///
    /// # Errors
    /// The folder holds a run or is in use, is a file, cannot be written, or the settings are no TOML.
    pub fn create(path: &Path, config_toml: &str) -> Result<Self> {
        let recipe = recipe_of(&path.join(CONFIG), config_toml)?;
        if path.is_file() {
            return Err(RunError::NotAFolder(path.to_path_buf()));
        }
        std::fs::create_dir_all(path).map_err(|error| RunError::io("create", path, error))?;
        let lock = lock(path)?;
        let filled = |name: &str| std::fs::read_dir(path.join(name)).is_ok_and(|mut entries| entries.next().is_some());
        let logged = std::fs::metadata(path.join(LOG)).is_ok_and(|metadata| metadata.len() > 0);
        if path.join(CONFIG).exists() || logged || filled(CHECKPOINTS) || filled(SAMPLES) {
            return Err(RunError::AlreadyARun(path.to_path_buf()));
        }
        for folder in [SAMPLES, CHECKPOINTS] {
            let folder = path.join(folder);
            std::fs::create_dir_all(&folder).map_err(|error| RunError::io("create", &folder, error))?;
        }
        let log = open_log(path)?;
        // Last: with it the folder is a run, and a crash before it can be tried again.
        write_atomic(&path.join(CONFIG), config_toml.as_bytes())?;
        Ok(Self { path: path.to_path_buf(), recipe, log, events: None, resumed: None, _lock: lock })
    }

    /// The run folder at `path`, to continue its run. What an interrupted write left behind is removed.
    ///
    /// # Errors
    /// It holds no run, is in use, or cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let config = path.join(CONFIG);
        if !config.is_file() {
            return Err(RunError::NotARun(path.to_path_buf()));
        }
        let lock = lock(path)?;
        let text = std::fs::read_to_string(&config).map_err(|error| RunError::io("read", &config, error))?;
        let recipe = recipe_of(&config, &text)?;
        for folder in [SAMPLES, CHECKPOINTS] {
            let folder = path.join(folder);
            std::fs::create_dir_all(&folder).map_err(|error| RunError::io("create", &folder, error))?;
        }
        checkpoint::clean(&path.join(CHECKPOINTS))?;
        let log = open_log(path)?;
        let mut run = Self { path: path.to_path_buf(), recipe, log, events: None, resumed: None, _lock: lock };
        let bytes = run.read_log()?;
        if bytes.last().is_some_and(|&byte| byte != b'\n') {
            run.keep_lines(&bytes, u64::MAX)?; // or the next line would continue the torn one
        }
        Ok(run)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The recipe in its settings.
    pub fn recipe(&self) -> &str {
        &self.recipe
    }

    /// Its settings as they were written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn config_toml(&self) -> Result<String> {
        let path = self.path.join(CONFIG);
        std::fs::read_to_string(&path).map_err(|error| RunError::io("read", &path, error))
    }

    /// Appends one line to `log.jsonl`. A `step` in it lets [`RunFolder::truncate_log`] find it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn log(&mut self, value: &impl Serialize) -> Result<()> {
        let path = self.path.join(LOG);
        let mut line = serde_json::to_vec(value).map_err(|error| RunError::encode(&path, &error))?;
        line.push(b'\n');
        // One write a line: whoever follows the file sees whole lines.
        self.log.write_all(&line).map_err(|error| RunError::io("write", &path, error))
    }

    /// Continues from `step`: drops the log's lines of later steps and a torn last line, and has TensorBoard drop the
    /// points of later steps. Lines without a step stay.
    ///
    /// # Errors
    /// The log cannot be read or written; it is then as it was.
    pub fn truncate_log(&mut self, step: u64) -> Result<()> {
        let bytes = self.read_log()?;
        self.keep_lines(&bytes, step)?;
        self.events = None;
        self.resumed = Some(step);
        Ok(())
    }

    /// One point of the curve `tag` for TensorBoard.
    ///
    /// # Errors
    /// The events file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        if self.events.is_none() {
            let mut events = Events::create(&self.path)?;
            if let Some(resumed) = self.resumed.take() {
                events.restart(resumed + 1)?;
            }
            self.events = Some(events);
        }
        self.events.as_mut().map_or(Ok(()), |events| events.scalar(tag, step, value))
    }

    /// Where the sample after so many pictures of training goes.
    pub fn sample_path(&self, images: u64) -> PathBuf {
        self.path.join(SAMPLES).join(format!("{images:08}.png"))
    }

    /// Writes a checkpoint (see [`checkpoint::save`]) and returns its folder.
    ///
    /// # Errors
    /// The disk refuses: the earlier checkpoints are intact.
    pub fn save_checkpoint(&mut self, step: u64, checkpoint: &Checkpoint) -> Result<PathBuf> {
        checkpoint::save(&self.path.join(CHECKPOINTS), step, checkpoint)
    }

    /// The newest whole checkpoint, and which newer ones are damaged.
    ///
    /// # Errors
    /// It is of another recipe or a newer program, may not be read, or there are some and none is whole.
    pub fn latest_checkpoint(&self) -> Result<Latest> {
        checkpoint::latest(&self.path.join(CHECKPOINTS), &self.recipe)
    }

    fn read_log(&self) -> Result<Vec<u8>> {
        let path = self.path.join(LOG);
        std::fs::read(&path).map_err(|error| RunError::io("read", &path, error))
    }

    /// Rewrites the log with the whole lines of `bytes` that are of `step` or before.
    fn keep_lines(&mut self, bytes: &[u8], step: u64) -> Result<()> {
        #[derive(Deserialize)]
        struct Line {
            step: Option<u64>,
        }
        let keep = |line: &&[u8]| {
            line.ends_with(b"\n")
                && serde_json::from_slice::<Line>(line).is_ok_and(|line| line.step.is_none_or(|of| of <= step))
        };
        let kept: Vec<u8> = bytes.split_inclusive(|&byte| byte == b'\n').filter(keep).flatten().copied().collect();
        if kept != bytes {
            write_atomic(&self.path.join(LOG), &kept)?;
            self.log = open_log(&self.path)?;
        }
        Ok(())
    }
}

fn open_log(path: &Path) -> Result<File> {
    let path = path.join(LOG);
    OpenOptions::new().append(true).create(true).open(&path).map_err(|error| RunError::io("write", &path, error))
}

/// How often a lock is tried, and how long between: half a second in all.
const LOCK_TRIES: usize = 10;
const LOCK_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK);
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(&name);
    let file = open.map_err(|error| RunError::io("write to", path, error))?;
    // A run that was stopped this moment may hold it a little longer.
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            Ok(()) => return Ok(file),
            // Some network disks know no locks; a run there is better than none.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(RunError::io("lock", &name, error)),
        }
    }
    Err(RunError::InUse(path.to_path_buf()))
}

fn recipe_of(path: &Path, config_toml: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Recipe {
        recipe: String,
    }
    let parsed: std::result::Result<Recipe, _> = toml::from_str(config_toml);
    parsed
        .map(|config| config.recipe)
        .map_err(|error| RunError::Config { path: path.to_path_buf(), message: error.message().to_string() })
}
