//! How sure a mean of a few runs is.
//!
//! By the percentile bootstrap (B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979):
//! nothing is assumed of how the runs are spread, and a handful of them is enough to say something.

use std::fmt;

/// How often the runs are drawn anew.
const DRAWS: usize = 10_000;
/// What is left out at each end.
const TAIL: f64 = 0.025;

/// A mean, and between what it is with 95% confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the runs.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Of the mean of these runs; `None` of nothing. The same runs give the same interval.
    #[must_use]
    pub fn of(runs: &[f64]) -> Option<Self> {
        if runs.is_empty() {
            return None;
        }
        let mut random = fastrand::Rng::with_seed(1);
        let mean = |sum: f64| sum / runs.len() as f64;
        let mut means: Vec<f64> = (0..DRAWS)
            .map(|_| mean(runs.iter().map(|_| runs[random.usize(..runs.len())]).sum()))
            .collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means[((DRAWS - 1) as f64 * share).round() as usize];
        Some(Self { mean: mean(runs.iter().sum()), low: at(TAIL), high: at(1.0 - TAIL) })
    }

    /// Whether the two have something in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

/// With as many digits after the point as asked for: `12.3 (11.8 to 12.9)`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.mean, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_mean_and_shrinks_with_what_varies_less() {
        assert_eq!(Interval::of(&[]), None);
        let same = Interval::of(&[2.0; 5]);
        assert_eq!(same, Some(Interval { mean: 2.0, low: 2.0, high: 2.0 }));
        let wide = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!(wide.low < 2.0 && wide.high > 4.0 && wide.mean == 3.0, "{wide}");
        // The mean of five has a standard error of 0.63; by Student's t its interval is wider still.
        assert!(wide.low > 1.0 && wide.high < 5.0, "{wide}");
        assert_eq!(format!("{wide:.0}").split(' ').next(), Some("3"));
    }

    #[test]
    fn apart_or_not() {
        let [low, high] =
            [[1.0, 1.1, 1.2], [2.0, 2.1, 2.2]].map(|runs| Interval::of(&runs).unwrap());
        let both = Interval::of(&[1.0, 2.2, 1.5]).unwrap();
        assert!(!low.overlaps(&high) && !high.overlaps(&low));
        assert!(low.overlaps(&both) && both.overlaps(&high));
    }
}
