//! Figures for people: three digits that count, and the unit that fits.

use crate::doctor::report::grouped;

/// Three digits that count: `0.123`, `4.56`, `78.9`, `1,230`.
pub(in crate::lab) fn digits(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        0.0 | 99.95.. => 0,
        9.995.. => 1,
        0.9995.. => 2,
        _ => 3,
    };
    match decimals {
        0 => {
            let whole = value.abs().round() as u64;
            let unit = 10_u64.pow(whole.max(1).ilog10().saturating_sub(2));
            grouped((whole + unit / 2) / unit * unit)
        }
        decimals => format!("{value:.decimals$}"),
    }
}

/// Requests per second: `12,300`.
pub(in crate::lab) fn rate(value: f64) -> String {
    digits(value)
}

/// How many times: `1.9`, `13`.
pub(in crate::lab) fn ratio(value: f64) -> String {
    match value {
        ..9.95 => format!("{value:.1}"),
        value => grouped(value.round() as u64),
    }
}

/// `850 µs`, `1.20 ms`.
pub(in crate::lab) fn microseconds(value: f64) -> String {
    nanoseconds(value * 1e3)
}

/// `3.10 ns`, `1.20 µs`.
pub(in crate::lab) fn nanoseconds(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        ..999.5 => (1.0, "ns"),
        ..999.5e3 => (1e3, "µs"),
        ..999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {unit}", digits(value / scale))
}

/// `4.30 KiB`.
pub(in crate::lab) fn bytes(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        ..1024.0 => (1.0, "bytes"),
        ..1_048_576.0 => (1024.0, "KiB"),
        ..1_073_741_824.0 => (1_048_576.0, "MiB"),
        _ => (1_073_741_824.0, "GiB"),
    };
    format!("{} {unit}", digits(value / scale))
}

/// For a narrow column: `938`, `12.3k`, `1.20M`.
pub(in crate::lab) fn compact(value: f64) -> String {
    match value.abs() {
        ..999.5 => digits(value),
        ..999.5e3 => format!("{}k", digits(value / 1e3)),
        _ => format!("{}M", digits(value / 1e6)),
    }
}

/// A figure at an axis: `1k`, not `1.00k`.
pub(in crate::lab) fn tick(figure: &str) -> String {
    let end = figure.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(figure.len());
    let (number, unit) = figure.split_at(end);
    if number.contains('.') {
        format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
    } else {
        figure.to_owned()
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(in crate::lab) fn join(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// Text as it has to be written in HTML and SVG.
pub(in crate::lab) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        let written = [0.0, 0.1234, 4.567, 78.91, 99.96, 938.4, 12_345.0, 1_234_567.0].map(digits);
        assert_eq!(written, ["0", "0.123", "4.57", "78.9", "100", "938", "12,300", "1,230,000"]);
        assert_eq!(digits(f64::NAN), "–");
    }

    #[test]
    fn units_fit_their_figures() {
        assert_eq!([3.1, 1_200.0, 2.5e7, 3e9].map(nanoseconds), ["3.10 ns", "1.20 µs", "25.0 ms", "3.00 s"]);
        assert_eq!([100.0, 4_403.0, 3.2e6].map(bytes), ["100 bytes", "4.30 KiB", "3.05 MiB"]);
        assert_eq!([938.0, 12_345.0, 2e6].map(compact), ["938", "12.3k", "2.00M"]);
        assert_eq!([1.94, 13.05].map(ratio), ["1.9", "13"]);
        assert_eq!(["1.00k", "10.0 ms", "1.50×", "100 µs"].map(tick), ["1k", "10 ms", "1.5×", "100 µs"]);
    }

    #[test]
    fn words_are_joined_and_markup_is_not_let_through() {
        assert_eq!(join(&["a", "b", "c"].map(str::to_owned)), "a, b and c");
        assert_eq!(escaped("<b a=\"1\">&\u{1b}"), "&lt;b a=&quot;1&quot;&gt;&amp; ");
    }
}
