//! From a value to a place on an axis, and where the axis is marked.

/// A logarithmic axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Log {
    low: f64,
    high: f64,
}

impl Log {
    /// One that has room for all of them; `None` if none of them is above zero.
    pub(super) fn over(values: impl IntoIterator<Item = f64>) -> Option<Log> {
        let mut found: Option<(f64, f64)> = None;
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            let (low, high) = found.unwrap_or((value, value));
            found = Some((low.min(value), high.max(value)));
        }
        let (low, high) = found?;
        // A single value stands in the middle.
        if low == high { Some(Log { low: low / 2.0, high: high * 2.0 }) } else { Some(Log { low, high }) }
    }

    /// The same, widened until both ends are marked: a power of ten, or two or five of one.
    pub(super) fn to_marks(self) -> Log {
        Log { low: mark_below(self.low), high: mark_above(self.high) }
    }

    /// The same, to powers of two.
    pub(super) fn to_powers_of_two(self) -> Log {
        Log { low: self.low.log2().floor().exp2(), high: self.high.log2().ceil().exp2() }
    }

    pub(super) fn powers_of_two(self) -> Vec<f64> {
        let (first, last) = (self.low.log2().ceil() as i32, self.high.log2().floor() as i32);
        (first..=last).map(|power| f64::from(power).exp2()).collect()
    }

    /// From 0 to 1, for a value within; beyond for others.
    pub(super) fn place(self, value: f64) -> f64 {
        (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
    }

    /// Powers of ten; with twos and fives between them when there would be few.
    pub(super) fn marks(self) -> Vec<f64> {
        let decades = self.high.log10() - self.low.log10();
        let steps: &[f64] = if decades <= 1.6 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let all = (first..=last).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|mark| (self.low * 0.999..=self.high * 1.001).contains(mark)).collect()
    }
}

fn mark_below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0]
        .map(|step| step * power)
        .into_iter()
        .find(|mark| *mark <= value * 1.000_001)
        .unwrap_or(power)
}

fn mark_above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|step| step * power)
        .into_iter()
        .find(|mark| *mark >= value * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// Round values from 0 up to `highest` or a little more: for a linear axis.
pub(super) fn even_marks(highest: f64) -> Vec<f64> {
    if !highest.is_finite() || highest <= 0.0 {
        return vec![0.0, 1.0];
    }
    let step = mark_above(highest / 5.0);
    let count = (highest / step).ceil() as usize;
    (0..=count).map(|number| number as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_by_their_order_of_magnitude() {
        let axis = Log::over([1.0, 10_000.0, f64::NAN, 0.0]).unwrap();
        assert_eq!(axis.place(1.0), 0.0);
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9 && (axis.place(10_000.0) - 1.0).abs() < 1e-9);
        assert_eq!(axis.marks().len(), 5);
        assert_eq!(Log::over([0.0, f64::INFINITY]), None);
    }

    #[test]
    fn an_axis_ends_at_its_marks_and_a_single_value_is_in_the_middle() {
        let axis = Log::over([300.0, 1_700.0]).unwrap().to_marks();
        assert_eq!(
            axis.marks().iter().map(|mark| mark.round()).collect::<Vec<_>>(),
            [200.0, 500.0, 1_000.0, 2_000.0]
        );
        assert!((Log::over([7.0]).unwrap().place(7.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn bytes_are_marked_by_powers_of_two() {
        let axis = Log::over([5_000.0, 30_000.0]).unwrap().to_powers_of_two();
        assert_eq!(axis.powers_of_two(), [4_096.0, 8_192.0, 16_384.0, 32_768.0]);
    }

    #[test]
    fn even_marks_begin_at_zero_and_reach_the_highest() {
        assert_eq!(even_marks(43.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(even_marks(0.0), [0.0, 1.0]);
    }
}
