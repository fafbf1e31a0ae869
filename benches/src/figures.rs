//! What is made of several measurements of the same.

/// The middle one; of an even number the upper of the two. Nothing's is zero.
pub fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        for (figures, expected) in [
            (&[3.0, 1.0, 2.0][..], 2.0),
            (&[4.0, 1.0, 3.0, 2.0][..], 3.0),
            (&[][..], 0.0),
        ] {
            assert_eq!(median(figures).to_bits(), f64::to_bits(expected));
        }
    }
}
