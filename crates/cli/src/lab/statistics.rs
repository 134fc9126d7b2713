//! Medians and quartiles. Rounds on a shared machine are far from normally distributed, so nothing here assumes that they are.

use serde::{Deserialize, Serialize};

/// The middle of some rounds, and how far they spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    /// A quarter of the rounds is below.
    pub(super) low: f64,
    /// A quarter of the rounds is above.
    pub(super) high: f64,
}

impl Spread {
    /// Of the finite ones among `values`; `None` when there are none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| quantile(&values, part);
        Some(Spread { median: at(0.5)?, low: at(0.25)?, high: at(0.75)? })
    }
}

/// The value below which `part` of the sorted values are, between two of them by their distance.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_quartiles_do_not_mind_the_order_or_an_outlier() {
        let spread = Spread::of([5.0, 1.0, 3.0, 2.0, 1_000.0]).unwrap();
        assert_eq!(spread, Spread { median: 3.0, low: 2.0, high: 5.0 });
    }

    #[test]
    fn an_even_number_of_rounds_has_its_median_between_two() {
        assert_eq!(Spread::of([1.0, 2.0]).unwrap(), Spread { median: 1.5, low: 1.25, high: 1.75 });
    }

    #[test]
    fn one_round_is_its_own_spread_and_none_has_none() {
        assert_eq!(Spread::of([7.0]).unwrap(), Spread { median: 7.0, low: 7.0, high: 7.0 });
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN, f64::INFINITY]), None);
    }
}
