//! Charts of one figure a name: bars from zero, and dots on a logarithmic axis, as SVG.

use super::lines::marker;
use super::scale::{Log, even_marks};
use super::words::{escaped, tick};
use std::fmt::Write as _;

const WIDTH: f64 = 420.0;
/// For the figures.
const RIGHT: f64 = 76.0;
/// A letter's width, roughly.
const LETTER: f64 = 6.2;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 24.0;
/// Longer names than this stand above what they name, not beside it.
const SHORT: usize = 17;

/// How the rows are laid out.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    /// Where the axis begins.
    left: f64,
    height: f64,
    /// From the top of a row to the middle of its bar or dot.
    middle: f64,
}

impl Rows {
    fn of<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Rows {
        let count = names.len();
        let beside = names.map(|name| name.chars().count()).max().unwrap_or(0) <= SHORT;
        let (left, height, middle) = if beside { (124.0, 22.0, 11.0) } else { (12.0, 42.0, 29.0) };
        Rows { count, left, height, middle }
    }

    fn bottom(self) -> f64 {
        TOP + self.count as f64 * self.height
    }

    fn middle_of(self, row: usize) -> f64 {
        TOP + row as f64 * self.height + self.middle
    }

    fn frame(self, title: &str) -> String {
        format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">",
            self.bottom() + BOTTOM,
            escaped(&format!("{title}; the table below has the figures"))
        )
    }

    fn grid(self, out: &mut String, marks: impl Iterator<Item = (f64, String)>) {
        let bottom = self.bottom();
        for (x, text) in marks {
            // Not over the edge.
            let (anchor, at) = if x < 30.0 { ("start", 2.0) } else { ("middle", x) };
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                bottom + 16.0,
                escaped(&tick(&text))
            );
        }
    }

    fn name(self, out: &mut String, row: usize, name: &str) {
        let middle = self.middle_of(row);
        let (x, y, anchor) = if self.left > 100.0 {
            (self.left - 8.0, middle + 4.0, "end")
        } else {
            (self.left - 8.0, middle - 13.0, "start")
        };
        let _ = write!(
            out,
            "<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(name)
        );
    }
}

/// A name with a bar in two parts, such as user and system time.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: [f64; 2],
    /// A figure from elsewhere, as a hollow diamond.
    pub(super) published: Option<f64>,
    pub(super) figure: String,
    /// The colour of its family.
    pub(super) style: usize,
}

/// A name with a dot.
pub(super) struct Dot {
    pub(super) name: String,
    pub(super) value: f64,
    /// From quartile to quartile.
    pub(super) range: Option<(f64, f64)>,
    /// A figure from elsewhere, as in [`Bar`].
    pub(super) published: Option<f64>,
    pub(super) figure: String,
    pub(super) style: usize,
}

impl From<Dot> for Bar {
    fn from(Dot { name, value, published, figure, style, .. }: Dot) -> Bar {
        Bar { name, parts: [value, 0.0], published, figure, style }
    }
}

/// Bars from zero; `write` writes the axis.
pub(super) fn bars(title: &str, bars: &[Bar], write: fn(f64) -> String) -> String {
    let rows = Rows::of(bars.iter().map(|bar| bar.name.as_str()));
    let longest = |bar: &Bar| bar.parts.iter().sum::<f64>().max(bar.published.unwrap_or(0.0));
    let marks = even_marks(bars.iter().map(longest).fold(0.0, f64::max));
    let highest = marks.last().copied().unwrap_or(1.0);
    let place = |value: f64| rows.left + value / highest * (WIDTH - rows.left - RIGHT);
    let mut out = rows.frame(title);
    rows.grid(&mut out, marks.into_iter().map(|mark| (place(mark), write(mark))));
    for (row, bar) in bars.iter().enumerate() {
        let middle = rows.middle_of(row);
        rows.name(&mut out, row, &bar.name);
        let mut from = 0.0;
        for (part, value) in bar.parts.iter().enumerate() {
            let (x, width) = (place(from), place(from + value) - place(from));
            let _ = write!(
                out,
                "<rect class=\"bar b{} part{part}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/>",
                bar.style,
                middle - 7.0,
                width.max(0.0)
            );
            from += value;
        }
        if let Some(value) = bar.published {
            published(&mut out, place(value), middle, &write(value));
        }
        figure(&mut out, place(longest(bar)) + 8.0, middle, &bar.figure);
    }
    out.push_str("</svg>");
    out
}

/// What a logarithmic axis is marked by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    Two,
    Ten,
}

/// Dots on a logarithmic axis; `write` writes the axis. Nothing if no value can be drawn.
pub(super) fn dots(title: &str, dots: &[Dot], base: Base, write: fn(f64) -> String) -> String {
    let values = dots.iter().flat_map(|dot| [Some(dot.value), dot.published].into_iter().flatten());
    let Some(axis) = Log::over(values) else {
        return String::new();
    };
    let axis = if base == Base::Two { axis.to_powers_of_two() } else { axis.to_marks() };
    let marks = if base == Base::Two { axis.powers_of_two() } else { axis.marks() };
    let rows = Rows::of(dots.iter().map(|dot| dot.name.as_str()));
    let place = |value: f64| rows.left + axis.place(value).clamp(0.0, 1.0) * (WIDTH - rows.left - RIGHT);
    let mut out = rows.frame(title);
    rows.grid(&mut out, apart(marks.into_iter().map(|mark| (place(mark), write(mark))).collect()));
    for (row, dot) in dots.iter().enumerate() {
        let middle = rows.middle_of(row);
        rows.name(&mut out, row, &dot.name);
        let _ =
            write!(out, "<path class=\"grid\" d=\"M{} {middle:.1}H{:.1}\"/>", rows.left, place(dot.value));
        if let Some((low, high)) = dot.range {
            let (low, high) = (place(low), place(high));
            let _ =
                write!(out, "<path class=\"range m{}\" d=\"M{low:.1} {middle:.1}H{high:.1}\"/>", dot.style);
        }
        if let Some(value) = dot.published {
            published(&mut out, place(value), middle, &write(value));
        }
        out.push_str(&marker(dot.style, place(dot.value), middle, true));
        let right = [Some(dot.value), dot.published, dot.range.map(|(_, high)| high)].into_iter().flatten();
        figure(&mut out, place(right.fold(0.0, f64::max)) + 8.0, middle, &dot.figure);
    }
    out.push_str("</svg>");
    out
}

fn published(out: &mut String, x: f64, middle: f64, figure: &str) {
    let _ = write!(
        out,
        "<path class=\"mark published hollow\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"><title>published: {}</title></path>",
        middle - 5.0,
        escaped(figure)
    );
}

/// As many of the marks, evenly and five at most, as do not run into each other with what is written at them.
fn apart(marks: Vec<(f64, String)>) -> impl Iterator<Item = (f64, String)> {
    let widest = marks.iter().map(|(_, text)| tick(text).chars().count()).max().unwrap_or(0) as f64 * LETTER;
    let gap = marks.windows(2).map(|two| two[1].0 - two[0].0).fold(f64::INFINITY, f64::min).max(1.0);
    let step = marks.len().div_ceil(5).max(((widest + LETTER) / gap).ceil() as usize).max(1);
    marks.into_iter().step_by(step)
}

fn figure(out: &mut String, x: f64, middle: f64, figure: &str) {
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
        middle + 4.0,
        escaped(figure)
    );
}

#[cfg(test)]
mod tests {
    use super::super::words::{compact, nanoseconds};
    use super::*;

    #[test]
    fn bars_have_their_parts_and_figures() {
        let bar = |name: &str, parts| Bar {
            name: name.into(),
            parts,
            published: None,
            figure: "7 µs".into(),
            style: 1,
        };
        let svg = bars("CPU", &[bar("a<b", [1.0, 6.0]), bar("c", [0.0, 0.0])], compact);
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.contains("a&lt;b") && svg.contains("7 µs") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn marks_are_written_as_far_apart_as_they_are_wide() {
        let marks = |gap: f64, text: &str| (0..5).map(|at| (f64::from(at) * gap, text.to_owned())).collect();
        assert_eq!(apart(marks(60.0, "8 KiB")).count(), 5);
        assert_eq!(apart(marks(60.0, "512 bytes")).count(), 3);
        assert_eq!(apart(Vec::new()).count(), 0);
    }

    #[test]
    fn dots_stand_beside_what_was_published() {
        let dot = |published| Dot {
            name: "call".into(),
            value: 1.5,
            range: Some((1.4, 1.7)),
            published,
            figure: "1.5 ns".into(),
            style: 0,
        };
        assert!(dots("costs", &[dot(Some(2.0))], Base::Ten, nanoseconds).contains("published: 2.00 ns"));
        assert!(!dots("costs", &[dot(None)], Base::Two, nanoseconds).contains("published"));
        assert_eq!(dots("costs", &[], Base::Ten, nanoseconds), "");
    }
}
