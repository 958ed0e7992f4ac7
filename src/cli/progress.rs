//! How far a long work is, on standard error: a line that is written over on a terminal, one line per step elsewhere,
//! or JSON lines. And, when it is done, where the time went.

use super::output::size;
use super::{Context, terminal};
use miniascape::package::{Progress, Step};
use rustix::termios::tcgetwinsize;
use serde_json::json;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two reports of one step.
const PAUSE: Duration = Duration::from_millis(200);

/// How a step ended.
const DONE: &str = "done";
const FAILED: &str = "failed";

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// A line that is written over on a terminal, one line per step elsewhere
    Text,
    /// JSON lines: step, bytes, total, rate and the seconds that are left
    Json,
    /// Nothing
    None,
}

/// The option of the commands that tell it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ProgressArgs {
    /// How to tell how far the work is, on standard error
    #[arg(long = "progress", value_name = "HOW", default_value = "text")]
    pub(crate) style: Style,
}

/// Tells and remembers steps.
pub(crate) struct Teller<'a> {
    context: &'a Context,
    style: Style,
    terminal: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    steps: Vec<Spent>,
    begun: Option<Instant>,
    told: Option<Instant>,
}

/// A step with what it has taken so far.
pub(crate) struct Spent {
    pub(crate) step: Step,
    pub(crate) done: u64,
    pub(crate) time: Duration,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(context: &'a Context, style: Style) -> Self {
        Self {
            context,
            style,
            terminal: style == Style::Text && std::io::stderr().is_terminal(),
            state: RefCell::default(),
        }
    }

    /// Runs one step, which tells the bytes that it has done.
    pub(crate) fn run<T, E>(
        &self,
        step: &Step,
        work: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T, E>,
    ) -> Result<T, E> {
        self.step(step);
        let result = work(&mut |bytes| self.advance(bytes));
        self.end_step(if result.is_ok() { DONE } else { FAILED });
        result
    }

    /// Ends the last step, which failed if not `done`; returns all of them.
    pub(crate) fn finish(self, done: bool) -> Vec<Spent> {
        self.end_step(if done { DONE } else { FAILED });
        self.state.into_inner().steps
    }

    /// How wide the terminal is now. None without one, or if it does not tell.
    fn columns(&self) -> Option<usize> {
        let size = self.terminal.then(|| tcgetwinsize(std::io::stderr()).ok())??;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    fn end_step(&self, how: &str) {
        let mut state = self.state.borrow_mut();
        let begun = state.begun.take();
        if let (Some(begun), Some(last)) = (begun, state.steps.last_mut()) {
            last.time = begun.elapsed();
            if self.style == Style::Json {
                tell(&last.json(how));
            }
        }
        if state.told.take().is_some() && self.terminal {
            tell_over("");
        }
    }
}

impl Progress for Teller<'_> {
    fn warn(&self, text: &str) {
        warn(self.context, self.style, text);
    }

    fn step(&self, step: &Step) {
        self.end_step(DONE);
        let spent = Spent {
            step: step.clone(),
            done: 0,
            time: Duration::ZERO,
        };
        match self.style {
            Style::Text => {
                let bytes = step.bytes.filter(|b| *b > 0).map(|b| format!(" ({})", size(b)));
                let bytes = bytes.unwrap_or_default();
                let title = self.columns().map_or_else(
                    || step.title.clone(),
                    |columns| shortened(&step.title, columns.saturating_sub(bytes.len())),
                );
                self.context.output().note(format!("{title}{bytes}"));
            }
            Style::Json => tell(&spent.json("begun")),
            Style::None => {}
        }
        let mut state = self.state.borrow_mut();
        state.steps.push(spent);
        state.begun = Some(Instant::now());
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state.borrow_mut();
        let Some(begun) = state.begun else { return };
        let due = state.told.unwrap_or(begun).elapsed() >= PAUSE;
        let Some(last) = state.steps.last_mut() else {
            return;
        };
        last.done += bytes;
        if !due {
            return;
        }
        last.time = begun.elapsed();
        match self.style {
            Style::Json => tell(&last.json("going")),
            Style::Text if self.terminal && !self.context.output().is_quiet() => {
                let line = last.line();
                // In the last column the cursor would stand on the next line in some terminals.
                let fits = self.columns().map(|columns| shortened(&line, columns - 1));
                tell_over(&fits.unwrap_or(line));
            }
            Style::Text | Style::None => {}
        }
        state.told = Some(Instant::now());
    }
}

impl Spent {
    /// Bytes in a second.
    fn rate(&self) -> u64 {
        let millis = self.time.as_millis().max(1);
        u64::try_from(u128::from(self.done) * 1000 / millis).unwrap_or(u64::MAX)
    }

    /// Seconds that are left, if that can be told.
    fn left(&self) -> Option<u64> {
        self.step
            .bytes?
            .saturating_sub(self.done)
            .checked_div(self.rate())
    }

    fn json(&self, state: &str) -> serde_json::Value {
        json!({
            "step": self.step.name,
            "title": self.step.title,
            "state": state,
            "bytes": self.done,
            "total": self.step.bytes,
            "rate": self.rate(),
            "seconds": self.time.as_secs_f64(),
            "seconds_left": self.left(),
        })
    }

    fn line(&self) -> String {
        let total = self.step.bytes.unwrap_or(0);
        let percent = (u128::from(self.done) * 100)
            .checked_div(u128::from(total))
            .unwrap_or(100);
        let left = self.left().map(|left| format!(", {} left", duration(left)));
        format!(
            "{} of {} ({percent} %), {}/s{}",
            size(self.done),
            size(total),
            size(self.rate()),
            left.unwrap_or_default()
        )
    }
}

/// `text` in at most so many columns, with an ellipsis in the middle if that takes something away: names begin alike.
fn shortened(text: &str, columns: usize) -> String {
    // From the Hangul letters on characters may take two columns.
    let width = |c: char| if c < '\u{1100}' { 1 } else { 2 };
    if text.chars().map(width).sum::<usize>() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let fitting = |chars: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        chars
            .take_while(|c| {
                used += width(*c);
                used <= room
            })
            .collect::<String>()
    };
    let begin = fitting(&mut text.chars(), room - room / 2);
    let end: String = fitting(&mut text.chars().rev(), room / 2).chars().rev().collect();
    let ellipsis = if columns > 0 { "…" } else { "" };
    format!("{begin}{ellipsis}{end}")
}

/// Seconds, as people read them.
fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A warning beside progress in this style: among JSON lines it is one of them, `{"warning": …}`.
pub(crate) fn warn(context: &Context, style: Style, text: &str) {
    if style == Style::Json {
        tell(&json!({ "warning": text }));
    } else {
        context.output().warn(text);
    }
}

/// One JSON line. A closed standard error is no reason to stop the work.
fn tell(value: &serde_json::Value) {
    let line = terminal::json(value.to_string());
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes over the line; ESC [ K clears its rest.
fn tell_over(text: &str) {
    let _ = write!(std::io::stderr().lock(), "\r{}\x1b[K", terminal::text(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_the_terminal() {
        let title = "unpack the base in /srv/packages/miniascape-image-0123456789abcdef.deb";
        assert_eq!(shortened(title, 80), title);
        assert_eq!(shortened(title, title.len()), title);
        assert_eq!(
            shortened(title, 60),
            "unpack the base in /srv/packag…pe-image-0123456789abcdef.deb"
        );
        for columns in 0..title.len() {
            assert_eq!(shortened(title, columns).chars().count(), columns);
        }
        assert_eq!(shortened("漢字漢字漢字", 8), "漢字…字");
    }

    #[test]
    fn a_line_tells_rate_and_rest() {
        let spent = |done, total, seconds| Spent {
            step: Step {
                name: "pack",
                title: "pack the base of vda".into(),
                bytes: Some(total),
            },
            done,
            time: Duration::from_secs(seconds),
        };
        let line = spent(1 << 30, 4 << 30, 2).line();
        assert_eq!(line, "1.0 GiB of 4.0 GiB (25 %), 512.0 MiB/s, 6 s left");
        for (seconds, text) in [(119, "119 s"), (185, "3 min 5 s"), (7260, "2 h 1 min")] {
            assert_eq!(duration(seconds), text);
        }
        // Nothing known yet, and more than was announced.
        assert_eq!(spent(0, 10, 0).left(), None);
        assert_eq!(spent(20, 10, 1).left(), Some(0));
        assert!(spent(0, 0, 0).line().contains("100 %"));
    }
}
