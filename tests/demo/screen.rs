//! What the user sees: steps, commands with their output, checks, and the summary. Plain text of at most 100
//! columns; colour only on a terminal that may have it. Knows nothing of hosts.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::interrupt;

/// The widest that anything gets, in columns.
const WIDEST: usize = 100;
/// Where output and remarks begin, in columns.
const INDENT: usize = 6;
/// A command that takes longer has its time shown.
const LONG: Duration = Duration::from_millis(950);

/// A way to print a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Bold,
    Dim,
    Green,
    Red,
    Cyan,
}

/// What of a command's output is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Show<'a> {
    /// Everything.
    All,
    /// The lines that contain one of these words.
    Only(&'a [&'a str]),
}

/// A part of the story.
#[derive(Debug)]
struct Step {
    title: String,
    checks: usize,
    started: Instant,
    took: Duration,
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    width: usize,
    started: Instant,
    steps: Vec<Step>,
    total: usize,
}

impl Screen {
    /// A screen as wide and as colourful as standard output allows.
    pub(crate) fn new() -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = rustix::termios::tcgetwinsize(&stdout)
            .ok()
            .filter(|_| terminal)
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns >= 40);
        Self {
            terminal,
            colour: terminal && !plain,
            width: width.unwrap_or(WIDEST).min(WIDEST),
            started: Instant::now(),
            steps: Vec::new(),
            total: 0,
        }
    }

    /// Begins the story, which is to have so many steps.
    pub(crate) fn begin(&mut self, title: &str, steps: usize) {
        self.total = steps;
        line(&format!("\n{}", self.paint(Style::Bold, title)));
    }

    /// Ends the step before, and begins the next.
    pub(crate) fn step(&mut self, title: &str) {
        self.end_step();
        let head = format!("[{}/{}] {title} ", self.steps.len() + 1, self.total);
        let clock = format!(" {}", clock(self.started.elapsed()));
        let rule = self.width.saturating_sub(head.chars().count() + clock.len());
        line(&format!(
            "\n{}{}\n",
            self.paint(Style::Bold, &head),
            self.paint(Style::Dim, &("-".repeat(rule) + &clock))
        ));
        self.steps.push(Step {
            title: title.to_owned(),
            checks: 0,
            started: Instant::now(),
            took: Duration::ZERO,
        });
    }

    fn end_step(&mut self) {
        if let Some(step) = self.steps.last_mut()
            && step.took.is_zero()
        {
            step.took = step.started.elapsed();
        }
    }

    /// A remark, wrapped.
    pub(crate) fn say(&self, text: &str) {
        for paragraph in text.lines() {
            for wrapped in wrap(paragraph, self.width - INDENT) {
                line(&format!("{}{wrapped}", " ".repeat(INDENT)));
            }
        }
    }

    /// A line at the left, wrapped.
    pub(crate) fn head(&self, text: &str) {
        for wrapped in wrap(text, self.width) {
            line(&wrapped);
        }
    }

    /// The command that is run next, as a user would type it after this prompt. While it runs, a terminal shows
    /// how long it has been running.
    pub(crate) fn command(&self, prompt: &str, typed: &str) -> Ticker {
        let prompt_width = prompt.chars().count() + 1;
        for (index, part) in typed.lines().enumerate() {
            if index == 0 {
                line(&format!("{} {part}", self.paint(Style::Cyan, prompt)));
            } else {
                line(&format!("{}{part}", " ".repeat(prompt_width)));
            }
        }
        Ticker::start(self.terminal)
    }

    /// What a command said.
    pub(crate) fn output(&self, text: &str, show: Show<'_>, took: Duration) {
        let all: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty())
            .collect();
        let shown: Vec<&str> = match show {
            Show::All => all.clone(),
            Show::Only(words) => {
                let wanted = |l: &&str| words.iter().any(|word| l.contains(word));
                all.iter().copied().filter(wanted).collect()
            }
        };
        let room = self.width - INDENT;
        for text in &shown {
            for part in fit(text, room) {
                line(&format!("{}{part}", " ".repeat(INDENT)));
            }
        }
        let mut remarks = Vec::new();
        match all.len() - shown.len() {
            0 => {}
            1 => remarks.push("1 more line".to_owned()),
            more => remarks.push(format!("{more} more lines")),
        }
        if took >= LONG {
            remarks.push(seconds(took));
        }
        if !remarks.is_empty() {
            let remarks = format!("{}({})", " ".repeat(INDENT), remarks.join(", "));
            line(&self.paint(Style::Dim, &remarks));
        }
    }

    /// Tells that something holds; panics with `why_not` when it does not.
    #[track_caller]
    pub(crate) fn check(&mut self, what: &str, holds: bool, why_not: impl std::fmt::Display) {
        let mut lines = wrap(what, self.width - INDENT).into_iter();
        let (mark, style) = if holds {
            ("ok", Style::Green)
        } else {
            ("NO", Style::Red)
        };
        line(&format!(
            "  {}  {}",
            self.paint(style, mark),
            lines.next().unwrap_or_default()
        ));
        for rest in lines {
            line(&format!("{}{rest}", " ".repeat(INDENT)));
        }
        assert!(holds, "this did not hold: {what}\n{why_not}");
        if let Some(step) = self.steps.last_mut() {
            step.checks += 1;
        }
    }

    /// The table of all steps, and the time since the start.
    pub(crate) fn summary(&mut self) -> Duration {
        self.end_step();
        let elapsed = self.started.elapsed();
        let room = self
            .steps
            .iter()
            .map(|s| s.title.chars().count())
            .max()
            .unwrap_or(0)
            + 3;
        let mut table = format!("\n{}\n\n", self.paint(Style::Bold, "Summary"));
        for (index, step) in self.steps.iter().enumerate() {
            let dots = ".".repeat(room - step.title.chars().count());
            let ok = self.paint(Style::Green, "ok");
            let verdict = match step.checks {
                0 => "    left out".to_owned(),
                1 => format!(" 1 check  {ok}"),
                count => format!("{count:>2} checks {ok}"),
            };
            writeln!(
                table,
                "  {:>2}  {} {dots} {verdict} {:>8}",
                index + 1,
                step.title,
                seconds(step.took)
            )
            .expect("a String takes everything");
        }
        line(table.trim_end_matches('\n'));
        elapsed
    }

    /// The last line of a story.
    pub(crate) fn ended(&self, text: &str) {
        line("");
        for wrapped in wrap(text, self.width) {
            line(&self.paint(Style::Bold, &wrapped));
        }
    }

    /// The end of a story that went wrong.
    pub(crate) fn failed(&self, why: &str) {
        let step = match self.steps.last() {
            Some(step) => format!("in step {}, \"{}\"", self.steps.len(), step.title),
            None => "before the first step".to_owned(),
        };
        let took = seconds(self.started.elapsed());
        let head = format!("\nThe demo FAILED {step}, after {took}:");
        line(&self.paint(Style::Red, &head));
        line(why);
        line("Logs of the private hosts, if any, are above. Nothing of them is left on this machine.");
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Green => "32",
            Style::Red => "1;31",
            Style::Cyan => "36",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Shows on a terminal that something takes its time; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticker(Option<(Sender<()>, JoinHandle<()>)>);

impl Ticker {
    fn start(terminal: bool) -> Self {
        Self(terminal.then(|| {
            let (sender, receiver) = channel();
            (sender, thread::spawn(move || tick(&receiver)))
        }))
    }
}

fn tick(ended: &Receiver<()>) {
    let started = Instant::now();
    let mut shown = false;
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_secs(1)) {
        write(&format!(
            "\r{}... {} s",
            " ".repeat(INDENT),
            started.elapsed().as_secs()
        ));
        shown = true;
    }
    if shown {
        write("\r\u{1b}[K");
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // It does nothing that could fail.
            drop(thread.join());
        }
    }
}

/// A time as in `3.2 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A time as on a clock.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// A line of output as it is, or wrapped where it does not fit.
fn fit(text: &str, room: usize) -> Vec<String> {
    let text = text.replace('\t', "    ");
    if text.chars().count() <= room {
        return vec![text];
    }
    let mut parts = wrap(&text, room - 2).into_iter();
    let first = parts.next().unwrap_or_default();
    std::iter::once(first)
        .chain(parts.map(|part| format!("  {part}")))
        .collect()
}

/// Lines of at most `room` columns, broken between words.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > room {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

fn line(text: &str) {
    write(&format!("{text}\n"));
}

fn write(text: &str) {
    interrupt::stay_if_interrupted();
    let mut stdout = std::io::stdout().lock();
    // Whoever closes standard output does not want to see more; the story goes on to its end and status.
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}
