//! The report's layout: groups of a label and a value each, wrapped so that it fits a terminal of 80 columns; and how figures are written.

use super::files::Known;
use std::fmt::Display;
use std::io::{self, Write};

/// Columns of a line, at most. Commands to be copied are left whole.
const WIDTH: usize = 80;

/// Where values begin.
const VALUES: usize = 23;

/// Writes a report, group by group.
#[derive(Debug)]
pub(super) struct Report<W> {
    out: W,
}

impl<W: Write> Report<W> {
    pub(super) fn new(out: W) -> Report<W> {
        Report { out }
    }

    /// Begins a group. What was written before is sent off: should a system call filter kill the process over what it tries next, the
    /// reader sees how far it came.
    pub(super) fn group(&mut self, name: &str) -> io::Result<()> {
        writeln!(self.out, "\n{name}")?;
        self.out.flush()
    }

    /// A fact.
    pub(super) fn line(&mut self, label: &str, value: impl Display) -> io::Result<()> {
        let lines = wrap(&value.to_string(), WIDTH - VALUES);
        let front = format!("  {label}");
        for (number, line) in lines.iter().enumerate() {
            let front = if number == 0 { front.as_str() } else { "" };
            writeln!(self.out, "{front:<width$}{line}", width = VALUES)?;
        }
        Ok(())
    }

    /// A fact, or that it is not known and why.
    pub(super) fn known(&mut self, label: &str, value: Known<impl Display>) -> io::Result<()> {
        match value {
            Ok(value) => self.line(label, value),
            Err(why) => self.line(label, unknown(&why)),
        }
    }

    /// A number to the right of a column, and what it is.
    pub(super) fn figure(&mut self, figure: &str, what: &str) -> io::Result<()> {
        let lines = wrap(what, WIDTH - 20);
        for (number, line) in lines.iter().enumerate() {
            writeln!(self.out, "{:>18}  {line}", if number == 0 { figure } else { "" })?;
        }
        Ok(())
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - 2) {
            writeln!(self.out, "  {line}")?;
        }
        Ok(())
    }

    /// An item of a numbered list, with what to type and where.
    pub(super) fn item(
        &mut self,
        number: usize,
        text: &str,
        commands: &[(String, String)],
    ) -> io::Result<()> {
        for (at, line) in wrap(text, WIDTH - 6).iter().enumerate() {
            let front = if at == 0 { format!("{number:>3}.") } else { String::new() };
            writeln!(self.out, "{front:<6}{line}")?;
        }
        let widest = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        for (command, place) in commands {
            writeln!(self.out, "{}", format!("        {command:<widest$}   {place}").trim_end())?;
        }
        Ok(())
    }

    /// A line as it is.
    pub(super) fn plain(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) fn unknown(why: &str) -> String {
    format!("unknown ({why})")
}

/// Breaks text between words, so that no line has more than `width` characters unless a word has.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        let letters = word.chars().count();
        if length > 0 && length + 1 + letters > width {
            lines.push(String::new());
            length = 0;
        }
        let line = lines.last_mut().expect("there is always one");
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += letters;
    }
    lines
}

/// `1,048,576`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The same with three figures that count, rounded down: an estimate has no more.
pub(crate) fn about(number: u64) -> String {
    let unit = 10u64.pow(number.max(1).ilog10().saturating_sub(2));
    grouped(number / unit * unit)
}

/// `23.5 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (number.max(1).ilog2() / 10) as usize;
    let value = number as f64 / (1u64 << (10 * power)) as f64;
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Report<&mut Vec<u8>>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut Report::new(&mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_stand_in_a_column_and_go_on_there() {
        let text = written(|report| {
            report.line("epoll", "yes")?;
            report.known("uring", Err::<&str, _>("/proc/x: no such file".into()))?;
            report.line("long", "word ".repeat(30))
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  epoll                yes");
        assert_eq!(lines[1], "  uring                unknown (/proc/x: no such file)");
        assert!(lines.len() > 4 && lines[3].starts_with("                       word"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn commands_are_left_whole_and_say_where() {
        let commands = [("a".into(), "here".into()), ("b ".repeat(50), String::new())];
        let text = written(|report| report.item(1, "Do this.", &commands));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  1.  Do this.");
        assert!(lines[1].starts_with("        a ") && lines[1].ends_with("   here"), "{text}");
        assert_eq!(lines[2].trim(), "b ".repeat(50).trim());
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_048_576].map(grouped), ["0", "999", "1,000", "1,048,576"]);
        assert_eq!([0, 7, 1234, 2_843_401].map(about), ["0", "7", "1,230", "2,840,000"]);
        assert_eq!(
            [0, 100, 65536, 8 << 20, (47 << 30) / 2, u64::MAX].map(bytes),
            ["0 bytes", "100 bytes", "64 KiB", "8 MiB", "23.5 GiB", "16 EiB"]
        );
    }
}
