//! How far a command is, on standard error: bytes, rate and the time that is left, where someone looks.

use super::super::output::size;
use super::super::{Context, Format};
use miniascape::image::ImageError;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two looks at the clock's face.
const PAUSE: Duration = Duration::from_millis(200);

/// A line that is written over and over. On something else than a terminal, and for those who asked for quiet, nothing.
pub(super) struct Bar {
    verb: &'static str,
    total: u64,
    shown: bool,
}

impl Bar {
    /// `total` is the number of bytes that will be told.
    pub(super) fn new(context: &Context, verb: &'static str, total: u64) -> Self {
        let wanted = context.format() == Format::Text && !context.output().is_quiet();
        Self {
            verb,
            total,
            shown: wanted && std::io::stderr().is_terminal(),
        }
    }

    /// Runs the work, which tells the bytes that it has done.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let begun = Instant::now();
        let (mut done, mut last) = (0u64, begun);
        let result = work(&mut |bytes| {
            done += bytes;
            if self.shown && last.elapsed() > PAUSE {
                last = Instant::now();
                self.show(&line(self.verb, done, self.total, begun.elapsed()));
            }
        });
        if last != begun {
            self.show("");
        }
        result
    }

    #[expect(clippy::unused_self, reason = "only a bar shows")]
    fn show(&self, text: &str) {
        // A closed standard error is no reason to stop the work. ESC [ K clears the rest of the line.
        let _ = write!(std::io::stderr().lock(), "\r{text}\x1b[K");
    }
}

fn line(verb: &str, done: u64, total: u64, spent: Duration) -> String {
    let millis = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = u64::try_from(u128::from(done) * 1000 / u128::from(millis)).unwrap_or(u64::MAX);
    let left = total.saturating_sub(done).checked_div(rate).unwrap_or(0);
    let percent = (u128::from(done) * 100)
        .checked_div(u128::from(total))
        .unwrap_or(100);
    format!(
        "{verb}: {percent} % of {}, {}/s, {left} s left",
        size(total),
        size(rate)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_rest() {
        let text = line("write", 1 << 30, 4 << 30, Duration::from_secs(2));
        assert_eq!(text, "write: 25 % of 4.0 GiB, 512.0 MiB/s, 6 s left");
        assert_eq!(
            line("look", 0, 0, Duration::ZERO),
            "look: 100 % of 0 bytes, 0 bytes/s, 0 s left"
        );
    }
}
