//! Minimum, median and maximum of repeated runs.

/// Smallest, middle and greatest of what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; the mean of the two middle ones where their number is even.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of `values`; zeros when there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or_default();
        let n = values.len();
        Self {
            min: at(0),
            median: (at(n / 2) + at(n.saturating_sub(1) / 2)) / 2.0,
            max: at(n.saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_middle_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([5.0]), Spread { min: 5.0, median: 5.0, max: 5.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }
}
