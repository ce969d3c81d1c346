//! The dashboard on a terminal: it is taken over, drawn on until a person has seen enough, and given back as it was,
//! whatever happens in between.

use std::io::{IsTerminal, Read, Stdout, Write, stdin, stdout};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::layout::Size;
use ratatui::termion::raw::IntoRawMode;
use ratatui::termion::screen::{ToAlternateScreen, ToMainScreen};
use ratatui::termion::{cursor, get_tty};

use super::keys::{self, Key};
use super::run::Run;
use super::screen::Screen;
use crate::failure::Failure;
use crate::{output, signals};

/// Between two looks at the run.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at the size of the terminal.
const TICK: Duration = Duration::from_millis(100);
/// After an escape, so long may the rest of its sequence take.
const SEQUENCE: Duration = Duration::from_millis(40);

/// Where keys come from: the terminal itself, so that standard input may be anything.
pub fn keyboard() -> Option<Box<dyn Read + Send>> {
    match get_tty() {
        Ok(tty) => Some(Box::new(tty) as Box<dyn Read + Send>),
        Err(_) if stdin().is_terminal() => Some(Box::new(stdin())),
        Err(_) => None,
    }
}

/// Shows the run until a key or a signal ends it.
pub fn show(run: Run, keyboard: Box<dyn Read + Send>) -> Result<(), Failure> {
    let stop = signals::stop_flag()?;
    // A panic's message would be drawn on a screen that goes away: it is kept until the terminal is itself again.
    let message = Arc::new(Mutex::new(String::new()));
    let hook = panic::take_hook();
    let kept = Arc::clone(&message);
    panic::set_hook(Box::new(move |info| *kept.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string()));
    let ended = panic::catch_unwind(AssertUnwindSafe(|| draw(run, keyboard, &stop)));
    panic::set_hook(hook);
    ended.unwrap_or_else(|panic| {
        output::note(&message.lock().unwrap_or_else(PoisonError::into_inner));
        panic::resume_unwind(panic)
    })
}

/// The other screen of the terminal, until this is dropped.
struct OtherScreen(Stdout);

impl OtherScreen {
    fn enter() -> std::io::Result<Self> {
        let mut out = stdout();
        write!(out, "{ToAlternateScreen}")?;
        out.flush()?;
        Ok(Self(out))
    }
}

impl Drop for OtherScreen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to restore.
        let _ = write!(self.0, "\x1b[0m{}{ToMainScreen}", cursor::Show);
        let _ = self.0.flush();
    }
}

fn draw(mut run: Run, keyboard: Box<dyn Read + Send>, stop: &AtomicBool) -> Result<(), Failure> {
    // Dropped from the last to the first: the modes of the terminal come back before its screen, or on any error.
    let raw = stdout().into_raw_mode()?;
    let _other = OtherScreen::enter()?;
    let mut terminal = Terminal::new(TermionBackend::new(raw))?;
    let typed = listen(keyboard);
    let mut screen = Screen::default();
    let (mut looked, mut bytes, mut more) = (None::<Instant>, Vec::new(), true);
    let (mut size, mut changed) = (Size::default(), true);
    while !stop.load(Ordering::Relaxed) {
        if more || looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            more = run.refresh();
            (looked, changed) = (Some(Instant::now()), true);
        }
        let now = terminal.size()?;
        if changed || now != size {
            terminal.draw(|frame| screen.draw(&run, frame))?;
            (size, changed) = (now, false);
        }
        let wait = match (more, bytes.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, true) => TICK,
            (false, false) => SEQUENCE,
        };
        let pressed = match typed.recv_timeout(wait) {
            Ok(more) => {
                bytes.extend(more);
                keys::take(&mut bytes, false)
            }
            Err(RecvTimeoutError::Timeout) => keys::take(&mut bytes, true),
            Err(RecvTimeoutError::Disconnected) => vec![Key::Interrupt],
        };
        for key in pressed {
            if screen.press(key, &run) {
                return Ok(());
            }
            changed = true;
        }
    }
    Ok(())
}

/// What is typed, as it comes; the other end hangs up when the terminal does.
fn listen(mut keyboard: Box<dyn Read + Send>) -> Receiver<Vec<u8>> {
    let (typed, heard) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 256];
        loop {
            match keyboard.read(&mut bytes) {
                Ok(0) => return,
                Ok(n) if typed.send(bytes[..n].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    heard
}
