//! Printing: results to standard output, everything else to standard error. A reader that goes away (`| head`) ends
//! the program quietly.

use super::{Failure, Format, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use std::io::{self, Write};

/// The way out for results and remarks.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
}

impl Output {
    pub(super) const fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet }
    }

    /// A result: `value` as JSON, or the text that `text` makes for people. Text without a last newline gets one;
    /// empty text prints nothing.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let content = match self.format {
            Format::Json => {
                let json = serde_json::to_string_pretty(value);
                terminal::json(json.map_err(|e| Failure::failed(e.to_string()))?)
            }
            Format::Text => text(),
        };
        write_lines(&mut io::stdout().lock(), &content)
    }

    /// The report of a change: as [`Output::result`], but silent for people who asked for quiet.
    pub(crate) fn report<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.quiet && self.format == Format::Text {
            Ok(())
        } else {
            self.result(value, text)
        }
    }

    /// One event of a stream: a JSON line, or a line of text; flushed at once.
    pub(crate) fn event<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let content = match self.format {
            Format::Json => {
                terminal::json(serde_json::to_string(value).map_err(|e| Failure::failed(e.to_string()))?)
            }
            Format::Text => text(),
        };
        write_lines(&mut io::stdout().lock(), &content)
    }

    /// Fails if the reader of standard output has gone, as a pipe tells without a write.
    #[expect(clippy::unused_self, reason = "all ways out are asked of one object")]
    pub(crate) fn ensure_reader(&self) -> Result<(), Failure> {
        let out = io::stdout();
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        // Without waiting. A poll that fails tells nothing.
        let _ = poll(&mut polled, Some(&Timespec::default()));
        if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            Err(Failure::reader_gone())
        } else {
            Ok(())
        }
    }

    /// True for people who asked for errors only.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A remark for people, on standard error.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            // A closed standard error is no reason to stop the work.
            let _ = write_lines(&mut io::stderr().lock(), text.as_ref());
        }
    }

    /// A warning, on standard error, also for those who asked for quiet.
    #[expect(clippy::unused_self, reason = "all ways out are asked of one object")]
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        let _ = write_lines(&mut io::stderr().lock(), &format!("warning: {}", text.as_ref()));
    }
}

fn write_lines(out: &mut impl Write, content: &str) -> Result<(), Failure> {
    if content.is_empty() {
        return Ok(());
    }
    let content = terminal::text(content);
    let newline = if content.ends_with('\n') { "" } else { "\n" };
    let written = write!(out, "{content}{newline}").and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        Err(e) => Err(Failure::failed(format!("cannot write the result: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// A table with left-aligned columns two spaces apart, a header line in capitals; `empty` when there are no rows.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let width = |i: usize| {
        rows.iter()
            .map(|r| r[i].chars().count())
            .max()
            .unwrap_or(0)
            .max(header[i].len())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header)];
    lines.extend(
        rows.iter()
            .map(|row| line(std::array::from_fn(|i| row[i].as_str()))),
    );
    lines.join("\n")
}

/// A number of bytes for people, to a tenth of the largest unit that fits: `1.2 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let tenths = |unit: usize| {
        let unit = 1u128 << (10 * (unit + 1));
        (u128::from(bytes) * 10 + unit / 2) / unit
    };
    // Rounding may lead to 1024.0, which is 1.0 of the next unit.
    let unit = (0..UNITS.len()).find(|unit| tenths(*unit) < 10_240).unwrap_or(0);
    let tenths = tenths(unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{size, table};

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (8 << 30, "8.0 GiB"),
            (300 << 30, "300.0 GiB"),
            (1023 << 40, "1023.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "long one".to_owned()],
            ["bbbbb".to_owned(), "c".to_owned()],
        ];
        assert_eq!(
            table(["NAME", "X"], &rows, ""),
            "NAME   X\na      long one\nbbbbb  c"
        );
        assert_eq!(table::<1>(["NAME"], &[], "no networks"), "no networks");
    }
}
