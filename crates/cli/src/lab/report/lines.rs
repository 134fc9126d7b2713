//! A chart of lines over concurrency, both axes logarithmic, as SVG.
//!
//! ```text
//!   title
//!  y ┤        ╭──●── name      each line of the family: a colour, a dash and a marker, and its name at its end
//!    │   ●──●─╯
//!    ┤ ┄┄┄┄┄┄┄┄┄┄┄┄┄           the others: thin and grey
//!    └──┬────┬────┬──
//! ```
//!
//! Colours come from the page's style sheet, by class, so that a chart follows the reader's light or dark theme.

use super::scale::Log;
use super::words::{compact, escaped, tick};
use std::fmt::Write as _;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 52.0;
/// For the names.
const RIGHT: f64 = 118.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Between two names, one above the other.
const LINE: f64 = 14.0;

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    /// Its place in the colours, dashes and markers; `None` for one in the background.
    pub(super) style: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Without errors; else the marker is hollow.
    pub(super) held: bool,
}

/// What is common to the charts that are to be compared: the axes.
pub(super) struct Axes {
    x: Log,
    y: Log,
    y_name: String,
    write: fn(f64) -> String,
}

impl Axes {
    /// With room for all of the points; `None` if there are none.
    pub(super) fn over<'a>(
        points: impl Iterator<Item = &'a Point> + Clone,
        y_name: &str,
        write: fn(f64) -> String,
    ) -> Option<Axes> {
        let x = Log::over(points.clone().map(|point| point.x))?;
        let y = Log::over(points.map(|point| point.y))?.to_marks();
        Some(Axes { x, y, y_name: y_name.to_owned(), write })
    }

    fn place(&self, point: &Point) -> (f64, f64) {
        let x = LEFT + self.x.place(point.x) * (WIDTH - LEFT - RIGHT);
        let y = HEIGHT - BOTTOM - self.y.place(point.y) * (HEIGHT - TOP - BOTTOM);
        (x, y)
    }

    /// The chart.
    pub(super) fn draw(&self, title: &str, lines: &[Line]) -> String {
        let mut out = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&format!(
                "{title}: {} against connections at a time; the table below has the figures",
                self.y_name
            ))
        );
        self.grid(&mut out);
        // The background first, so that nothing of the family is hidden.
        for line in lines.iter().filter(|line| line.style.is_none()) {
            self.path(&mut out, line, "back");
        }
        let mut ends = Vec::new();
        for line in lines {
            let Some(style) = line.style else { continue };
            self.path(&mut out, line, &format!("s{style}"));
            for point in &line.points {
                let (x, y) = self.place(point);
                out.push_str(&marker(style, x, y, point.held));
            }
            if let Some(last) = line.points.last() {
                ends.push((self.place(last), style, line.name.as_str()));
            }
        }
        names(&mut out, ends);
        out.push_str("</svg>");
        out
    }

    fn grid(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for mark in self.y.marks() {
            let (_, y) = self.place(&Point { x: 1.0, y: mark, held: true });
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                escaped(&tick(&(self.write)(mark)))
            );
        }
        for mark in self.x.marks() {
            let (x, _) = self.place(&Point { x: mark, y: 1.0, held: true });
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                escaped(&tick(&compact(mark)))
            );
        }
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">connections at a time</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 6.0
        );
    }

    fn path(&self, out: &mut String, line: &Line, class: &str) {
        let mut data = String::new();
        for (number, point) in line.points.iter().enumerate() {
            let (x, y) = self.place(point);
            let _ = write!(data, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
        }
        let _ = write!(
            out,
            "<path class=\"line {class}\" d=\"{data}\"><title>{}</title></path>",
            escaped(&line.name)
        );
    }
}

/// A marker of the line's own: shapes tell lines apart where colours do not.
pub(super) fn marker(style: usize, x: f64, y: f64, full: bool) -> String {
    let fill = if full { "full" } else { "hollow" };
    let shape = |data: String| format!("<path class=\"mark m{style} {fill}\" d=\"{data}\"/>");
    match style % 5 {
        0 => format!("<circle class=\"mark m{style} {fill}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>"),
        1 => shape(format!("M{:.1} {:.1}h6.6v6.6h-6.6z", x - 3.3, y - 3.3)),
        2 => shape(format!("M{x:.1} {:.1}l4.4 7.4h-8.8z", y - 4.6)),
        3 => shape(format!("M{x:.1} {:.1}l4.6 4.6l-4.6 4.6l-4.6 -4.6z", y - 4.6)),
        _ => shape(format!("M{x:.1} {:.1}l4.4 -7.4h-8.8z", y + 4.6)),
    }
}

/// The names at the ends of their lines, moved apart where they would meet.
fn names(out: &mut String, mut ends: Vec<((f64, f64), usize, &str)>) {
    ends.sort_by(|one, other| one.0.1.total_cmp(&other.0.1));
    let mut places: Vec<f64> = ends.iter().map(|((_, y), ..)| *y).collect();
    apart(&mut places, TOP + 4.0, HEIGHT - BOTTOM);
    for (((x, y), style, name), place) in ends.into_iter().zip(places) {
        let at = WIDTH - RIGHT + 12.0;
        let _ = write!(
            out,
            "<path class=\"lead\" d=\"M{:.1} {y:.1}L{:.1} {place:.1}\"/><text class=\"name n{style}\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
            x + 5.0,
            at - 3.0,
            place + 4.0,
            escaped(name)
        );
    }
}

/// Moves sorted places until each is a line from the next, within bounds if there is room.
fn apart(places: &mut [f64], top: f64, bottom: f64) {
    let mut lowest = top;
    for place in places.iter_mut() {
        *place = place.max(lowest);
        lowest = *place + LINE;
    }
    let mut highest = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(highest);
        highest = *place - LINE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_meet_are_moved_apart_and_stay_within() {
        let mut places = [100.0, 101.0, 102.0, 198.0];
        apart(&mut places, 0.0, 200.0);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 1e-9), "{places:?}");
        assert!(places[3] <= 200.0);
    }

    #[test]
    fn a_chart_has_its_lines_and_their_names_and_is_well_formed() {
        let point = |x, y, held| Point { x, y, held };
        let line = |name: &str, style| Line {
            name: name.into(),
            points: vec![point(1.0, 10.0, true), point(100.0, 1_000.0, false)],
            style,
        };
        let lines = [line("a<b", Some(0)), line("other", None)];
        let axes = Axes::over(lines.iter().flat_map(|line| &line.points), "rate", compact).unwrap();
        let svg = axes.draw("Threads", &lines);
        assert!(
            svg.contains("a&lt;b</text>") && svg.contains("class=\"line back\"") && svg.contains("hollow"),
            "{svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn without_points_there_is_no_chart() {
        assert!(Axes::over([].iter(), "rate", compact).is_none());
    }
}
