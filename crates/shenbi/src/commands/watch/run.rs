//! What there is to see of a run: its settings, how far it is, its curves and samples. Nothing is written or locked.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use shenbi_train::config::TEXT_RECIPES;

use super::curves::Curves;
use super::tail::{Piece, Tail};
use crate::failure::Failure;

const CONFIG: &str = "config.toml";
const LOG: &str = "log.jsonl";
const SAMPLES: &str = "samples";
/// Bytes of the log taken in before the screen is drawn again.
const AT_ONCE: usize = 4 << 20;
/// A run logs once a second: after so long without a line it may have been stopped.
const SILENCE: Duration = Duration::from_secs(60);

/// The settings that are shown. A run of another version may lack some.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The recipe.
    pub recipe: Option<String>,
    /// Whether it learns texts, not pictures.
    pub texts: bool,
    /// The data, as it was given.
    pub data: Option<String>,
    /// Which of the built-in scenes.
    pub level: Option<String>,
    /// Height and width of the pictures, where it learns any.
    pub size: Option<[u64; 2]>,
    /// Their channels.
    pub channels: Option<u64>,
    /// Pictures a step.
    pub batch: Option<u64>,
    /// Length of the run in thousands of pictures, if it is measured so.
    pub kimg: Option<f64>,
    /// Length of the run in minutes, if it is measured so.
    pub minutes: Option<f64>,
}

impl Settings {
    pub(super) fn from_toml(text: &str) -> Result<Self, String> {
        let table: toml::Table = toml::from_str(text).map_err(|error| error.message().to_string())?;
        let text = |key: &str| table.get(key).and_then(toml::Value::as_str).map(clean);
        let whole = |key: &str| table.get(key)?.as_integer().and_then(|n| u64::try_from(n).ok());
        let length = |key: &str| {
            let value = table.get(key)?;
            value.as_float().or(value.as_integer().map(|n| n as f64)).filter(|length| *length > 0.0)
        };
        let (data, recipe) = (text("data"), text("recipe"));
        let texts = recipe.as_ref().is_some_and(|recipe| TEXT_RECIPES.iter().any(|(name, _)| name == recipe));
        Ok(Self {
            recipe,
            texts,
            level: text("level").filter(|_| data.as_deref() == Some("scenes")),
            data,
            size: whole("height").zip(whole("width")).map(|(height, width)| [height, width]).filter(|_| !texts),
            channels: whole("channels"),
            batch: whole("batch"),
            kimg: length("kimg"),
            minutes: length("minutes"),
        })
    }
}

/// What the last lines of the log say of the run as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Which part of the training.
    pub phase: Option<String>,
    /// Steps taken.
    pub step: Option<f64>,
    /// Pictures seen.
    pub images: Option<f64>,
    /// Seconds trained.
    pub seconds: Option<f64>,
    /// Speed.
    pub images_per_second: Option<f64>,
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// Nothing has been logged yet.
    Waiting,
    /// It logs.
    Running,
    /// It has reached its length.
    Finished,
    /// It has not, and has not logged for so long.
    Silent(Duration),
}

impl State {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Silent(_) => "silent",
        }
    }
}

/// A run folder that is looked at.
#[derive(Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// Its settings.
    pub settings: Settings,
    /// Where it stands.
    pub facts: Facts,
    /// Its figures.
    pub curves: Curves,
    /// Lines of the log that are none.
    pub bad_lines: u64,
    /// Its sample pictures, oldest first.
    pub samples: Vec<PathBuf>,
    /// Why the log cannot be read at the moment.
    pub trouble: Option<String>,
    log: Tail,
    lines: u64,
    written: Option<SystemTime>,
}

impl Run {
    /// The run in the folder `path`. Its log and samples are read by [`Run::refresh`].
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let wanted = "expected the folder of a run, as `train` makes it: runs/00001-brush-scenes, say";
        let config = path.join(CONFIG);
        let problem = match fs::metadata(path) {
            Err(error) => format!("{name}: {error}; {wanted}"),
            Ok(found) if !found.is_dir() => format!("{name} is a file; {wanted}"),
            Ok(_) if !config.is_file() => format!("{name} holds no run (no {CONFIG} in it); {wanted}"),
            Ok(_) => match settings(&config) {
                Err(message) => format!("{}: {message}; restore the file to watch the run", config.display()),
                Ok(settings) => return Ok(Self::new(path, settings)),
            },
        };
        Err(Failure::Failed(problem))
    }

    fn new(path: &Path, settings: Settings) -> Self {
        Self {
            path: path.to_path_buf(),
            settings,
            facts: Facts::default(),
            curves: Curves::default(),
            bad_lines: 0,
            samples: Vec::new(),
            trouble: None,
            log: Tail::new(&path.join(LOG)),
            lines: 0,
            written: None,
        }
    }

    /// Looks for what is new. Returns whether there is more to read at once.
    pub fn refresh(&mut self) -> bool {
        // A run may be lengthened; while its settings are being replaced, the old ones do.
        if let Ok(settings) = settings(&self.path.join(CONFIG)) {
            self.settings = settings;
        }
        self.samples = samples(&self.path.join(SAMPLES));
        self.written = fs::metadata(self.log.path()).and_then(|log| log.modified()).ok();
        let Self { log, facts, curves, bad_lines, lines, .. } = self;
        let read = log.read(AT_ONCE, |piece| match piece {
            Piece::Anew => (*facts, *curves, *bad_lines, *lines) = Default::default(),
            Piece::TooLong => *bad_lines += 1,
            Piece::Line(line) if line.trim_ascii().is_empty() => {}
            Piece::Line(line) => match serde_json::from_slice::<Map<String, Value>>(line) {
                Ok(line) => {
                    *lines += 1;
                    facts.take(&line);
                    // Figures are drawn over the pictures seen, or whatever else counts up.
                    let of_line = |key: &str| line.get(key).and_then(Value::as_f64);
                    curves.add(of_line("images").or_else(|| of_line("step")).unwrap_or(*lines as f64), &line);
                }
                Err(_) => *bad_lines += 1,
            },
        });
        self.trouble = read.as_ref().err().map(|error| format!("{LOG} cannot be read: {error}"));
        read.unwrap_or(false)
    }

    /// Whether there is more to come.
    pub fn state(&self) -> State {
        let age = self.written.and_then(|written| SystemTime::now().duration_since(written).ok()).unwrap_or_default();
        match self.progress() {
            Some(progress) if progress >= 1.0 => State::Finished,
            _ if self.lines == 0 => State::Waiting,
            _ if age > SILENCE => State::Silent(age),
            _ => State::Running,
        }
    }

    /// The share of the run that is over, 0 to 1, if its settings and log tell.
    pub fn progress(&self) -> Option<f64> {
        let Settings { kimg, minutes, .. } = self.settings;
        let share = match (kimg, minutes) {
            (Some(kimg), _) => self.facts.images? / (kimg * 1000.0),
            (_, Some(minutes)) => self.facts.seconds? / (minutes * 60.0),
            _ => return None,
        };
        Some(share.clamp(0.0, 1.0))
    }

    /// Seconds until it has reached its length, at the speed of its last line, while it runs.
    pub fn seconds_left(&self) -> Option<f64> {
        if self.state() != State::Running {
            return None;
        }
        let Settings { kimg, minutes, .. } = self.settings;
        let left = match (kimg, minutes) {
            (Some(kimg), _) => (kimg * 1000.0 - self.facts.images?) / self.facts.images_per_second?,
            (_, Some(minutes)) => minutes * 60.0 - self.facts.seconds?,
            _ => return None,
        };
        Some(left.max(0.0)).filter(|left| left.is_finite())
    }
}

impl Facts {
    fn take(&mut self, line: &Map<String, Value>) {
        let number = |key: &str| line.get(key).and_then(Value::as_f64);
        if let Some(phase) = line.get("phase").and_then(Value::as_str) {
            self.phase = Some(clean(phase));
        }
        self.step = number("step").or(self.step);
        self.images = number("images").or(self.images);
        self.seconds = number("seconds").or(self.seconds);
        self.images_per_second = number("images_per_second").or(self.images_per_second);
    }
}

fn settings(config: &Path) -> Result<Settings, String> {
    let text = fs::read_to_string(config).map_err(|error| error.to_string())?;
    Settings::from_toml(&text)
}

/// The pictures in `folder`, named by the number of pictures seen, in that order.
fn samples(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut samples: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    samples.retain(|path| {
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"))
    });
    let number = |path: &Path| path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse::<u64>().ok());
    samples.sort_by_cached_key(|path| (number(path), path.clone()));
    samples
}

/// Text for a terminal: what a terminal would obey is replaced.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn run(config: &str, log: &str) -> (tempfile::TempDir, Run) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), config).unwrap();
        fs::write(folder.path().join(LOG), log).unwrap();
        let mut run = Run::open(folder.path()).unwrap();
        assert!(!run.refresh());
        (folder, run)
    }

    #[test]
    fn a_run_measured_in_pictures() {
        let log = r#"{"phase": "gan", "step": 4, "images": 500, "seconds": 9.5, "images_per_second": 50, "d": 1}
not JSON
[1]

"#;
        let (folder, mut run) = run("recipe = \"brush\"\nkimg = 2\nminutes = 0.0\nheight = 48\nwidth = 64", log);
        assert_eq!((run.state(), run.bad_lines), (State::Running, 2));
        assert_eq!((run.progress(), run.seconds_left()), (Some(0.25), Some(30.0)));
        assert_eq!((run.settings.size, run.settings.recipe.as_deref()), (Some([48, 64]), Some("brush")));
        assert_eq!(run.facts.phase.as_deref(), Some("gan"));
        assert_eq!(run.curves.get("d").unwrap().latest, (500.0, 1.0));
        // Lengthened, and begun again from an earlier step.
        fs::write(folder.path().join(CONFIG), "kimg = 4").unwrap();
        fs::write(folder.path().join(LOG), "{\"images\":400,\"g\":2}\n").unwrap();
        run.refresh();
        assert_eq!((run.progress(), run.bad_lines, run.seconds_left()), (Some(0.1), 0, None));
        assert!(run.curves.get("d").is_none() && run.curves.get("g").is_some());
    }

    #[test]
    fn a_run_measured_in_minutes() {
        let (folder, mut run) = run("minutes = 1.5", "{\"seconds\":60}\n");
        assert_eq!((run.state(), run.progress(), run.seconds_left()), (State::Running, Some(2.0 / 3.0), Some(30.0)));
        let log = File::options().append(true).open(folder.path().join(LOG)).unwrap();
        log.set_modified(SystemTime::now() - Duration::from_secs(300)).unwrap();
        run.refresh();
        assert!(matches!(run.state(), State::Silent(age) if age.as_secs() >= 300), "{:?}", run.state());
        assert_eq!(run.seconds_left(), None);
        fs::write(folder.path().join(LOG), "{\"seconds\":90.01}\n").unwrap();
        run.refresh();
        assert_eq!((run.state(), run.progress()), (State::Finished, Some(1.0)));
    }

    #[test]
    fn a_run_that_says_nothing() {
        let (_folder, run) = run("", "");
        assert_eq!((run.state(), run.progress(), run.seconds_left()), (State::Waiting, None, None));
        assert_eq!(run.settings, Settings::default());
        let settings = Settings::from_toml("recipe = 3\ndata = \"a\\u001b[2Jb\"\nheight = -1\nkimg = \"x\"").unwrap();
        assert_eq!(settings, Settings { data: Some("a\u{fffd}[2Jb".into()), ..Settings::default() });
    }

    #[test]
    fn samples_are_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["00000009.png", "100000000.png", "00000100.png", ".00000200.png", "a.png", "x.txt", "x.png.tmp"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = samples(folder.path());
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.png", "00000009.png", "00000100.png", "100000000.png"]);
        assert!(samples(&folder.path().join("absent")).is_empty());
    }
}
