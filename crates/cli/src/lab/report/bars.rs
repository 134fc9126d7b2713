//! Charts of one figure a name: bars from zero, and dots on a logarithmic axis, as SVG.

use super::lines::marker;
use super::scale::{Log, even_marks};
use super::words::escaped;
use std::fmt::Write as _;

const WIDTH: f64 = 420.0;
const LEFT: f64 = 128.0;
/// For the figures.
const RIGHT: f64 = 76.0;
const ROW: f64 = 22.0;
const TOP: f64 = 6.0;
const BOTTOM: f64 = 24.0;

/// A name with a bar in two parts, such as user and system time.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: [f64; 2],
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
    /// A figure from elsewhere, as a hollow diamond.
    pub(super) published: Option<f64>,
    pub(super) figure: String,
    pub(super) style: usize,
}

/// Bars from zero; `write` writes the axis.
pub(super) fn bars(title: &str, bars: &[Bar], write: fn(f64) -> String) -> String {
    let marks = even_marks(bars.iter().map(|bar| bar.parts.iter().sum()).fold(0.0, f64::max));
    let highest = marks.last().copied().unwrap_or(1.0);
    let place = |value: f64| LEFT + value / highest * (WIDTH - LEFT - RIGHT);
    let mut out = frame(title, bars.len());
    grid(&mut out, bars.len(), marks.into_iter().map(|mark| (place(mark), write(mark))));
    for (number, bar) in bars.iter().enumerate() {
        let y = TOP + number as f64 * ROW;
        name(&mut out, y, &bar.name);
        let mut from = 0.0;
        for (part, value) in bar.parts.iter().enumerate() {
            let (x, width) = (place(from), place(from + value) - place(from));
            let _ = write!(
                out,
                "<rect class=\"bar b{} part{part}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                bar.style,
                y + 4.0,
                width.max(0.0),
                ROW - 8.0
            );
            from += value;
        }
        figure(&mut out, place(from) + 6.0, y, &bar.figure);
    }
    out.push_str("</svg>");
    out
}

/// Dots on a logarithmic axis; `write` writes the axis. Nothing if no value can be drawn.
pub(super) fn dots(title: &str, dots: &[Dot], write: fn(f64) -> String) -> String {
    let values = dots.iter().flat_map(|dot| [Some(dot.value), dot.published].into_iter().flatten());
    let Some(axis) = Log::over(values).map(Log::to_marks) else {
        return String::new();
    };
    let place = |value: f64| LEFT + axis.place(value).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT);
    let mut out = frame(title, dots.len());
    grid(&mut out, dots.len(), every_few(axis.marks()).map(|mark| (place(mark), write(mark))));
    for (number, dot) in dots.iter().enumerate() {
        let y = TOP + number as f64 * ROW;
        let middle = y + ROW / 2.0;
        name(&mut out, y, &dot.name);
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {middle:.1}H{:.1}\"/>", place(dot.value));
        if let Some((low, high)) = dot.range {
            let (low, high) = (place(low), place(high));
            let _ =
                write!(out, "<path class=\"range m{}\" d=\"M{low:.1} {middle:.1}H{high:.1}\"/>", dot.style);
        }
        if let Some(published) = dot.published {
            let x = place(published);
            let _ = write!(
                out,
                "<path class=\"mark published hollow\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"><title>published: {}</title></path>",
                middle - 5.0,
                escaped(&write(published))
            );
        }
        out.push_str(&marker(dot.style, place(dot.value), middle, true));
        let beside = dot.published.map_or(dot.value, |published| published.max(dot.value));
        figure(&mut out, place(beside) + 8.0, y, &dot.figure);
    }
    out.push_str("</svg>");
    out
}

/// At most five of the marks, evenly: more would run into each other.
fn every_few(marks: Vec<f64>) -> impl Iterator<Item = f64> {
    let step = marks.len().div_ceil(5).max(1);
    marks.into_iter().step_by(step)
}

fn frame(title: &str, rows: usize) -> String {
    let height = TOP + rows as f64 * ROW + BOTTOM;
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(&format!("{title}; the table below has the figures"))
    )
}

fn grid(out: &mut String, rows: usize, marks: impl Iterator<Item = (f64, String)>) {
    let bottom = TOP + rows as f64 * ROW;
    for (x, text) in marks {
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            escaped(&text)
        );
    }
}

fn name(out: &mut String, y: f64, name: &str) {
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        LEFT - 8.0,
        y + ROW / 2.0 + 4.0,
        escaped(name)
    );
}

fn figure(out: &mut String, x: f64, y: f64, figure: &str) {
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
        y + ROW / 2.0 + 4.0,
        escaped(figure)
    );
}

#[cfg(test)]
mod tests {
    use super::super::words::{compact, nanoseconds};
    use super::*;

    #[test]
    fn bars_have_their_parts_and_figures() {
        let bar = |name: &str, parts| Bar { name: name.into(), parts, figure: "7 µs".into(), style: 1 };
        let svg = bars("CPU", &[bar("a<b", [1.0, 6.0]), bar("c", [0.0, 0.0])], compact);
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.contains("a&lt;b") && svg.contains("7 µs") && !svg.contains("NaN"), "{svg}");
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
        assert!(dots("costs", &[dot(Some(2.0))], nanoseconds).contains("published: 2.00 ns"));
        assert!(!dots("costs", &[dot(None)], nanoseconds).contains("published"));
        assert_eq!(dots("costs", &[], nanoseconds), "");
    }
}
