//! Medians and their intervals. Rounds on a shared machine are far from normally distributed, so nothing here assumes
//! that they are: the middle is a median, and its interval is a percentile bootstrap.

/// How often the rounds are drawn again to find an interval.
const RESAMPLES: usize = 10_000;

/// A median with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The median of `values`; `None` when there are none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    median_in_place(&mut sorted)
}

fn median_in_place(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
}

/// The median of `values` and the interval in which 95% of the medians of resampled rounds lie.
pub(crate) fn estimate(values: &[f64], rng: &mut fastrand::Rng) -> Option<Estimate> {
    let median = median(values)?;
    let mut drawn = vec![0.0; values.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            drawn.fill_with(|| values[rng.usize(..values.len())]);
            median_in_place(&mut drawn)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |quantile: f64| medians[(quantile * (medians.len() - 1) as f64).round() as usize];
    Some(Estimate { median, low: at(0.025), high: at(0.975) })
}

/// The ratios round by round of those rounds in which both sides have a figure.
///
/// Pairing by round takes out what both sides of a round share: the state of the machine at that time.
pub(crate) fn paired_ratios(above: &[Option<f64>], below: &[Option<f64>]) -> Vec<f64> {
    above
        .iter()
        .zip(below)
        .filter_map(|pair| match pair {
            (Some(above), Some(below)) if *below != 0.0 => Some(above / below),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_interval_holds_the_median_and_stays_within_the_values() {
        let values: Vec<f64> = (0..20).map(f64::from).collect();
        let found = estimate(&values, &mut fastrand::Rng::with_seed(1)).expect("there are values");
        assert!(found.low < found.median && found.median < found.high);
        assert!(found.low >= 0.0 && found.high <= 19.0);
    }

    #[test]
    fn a_round_without_its_partner_is_left_out_of_the_ratios() {
        let above = [Some(2.0), None, Some(9.0), Some(1.0)];
        let below = [Some(1.0), Some(1.0), Some(3.0), None];
        assert_eq!(paired_ratios(&above, &below), [2.0, 3.0]);
    }
}
