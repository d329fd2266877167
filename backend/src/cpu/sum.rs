//! Sums over a row in lanes: short chains of additions, hence small errors, and the same bits everywhere.

/// Lanes of a sum over a row, which may have tens of thousands of elements.
const SUM_LANES: usize = 64;

/// Lanes of a dot product over a head.
const DOT_LANES: usize = 8;

/// `Σ terms`: lane j sums the terms i ≡ j mod 64, then the upper half of the lanes is added to the lower until one is left.
pub fn sum(terms: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; SUM_LANES];
    for (i, term) in terms.enumerate() {
        lanes[i % SUM_LANES] += term;
    }
    let mut half = SUM_LANES / 2;
    while half > 0 {
        let (lower, upper) = lanes.split_at_mut(half);
        lower.iter_mut().zip(upper).for_each(|(lower, upper)| *lower += *upper);
        half /= 2;
    }
    lanes[0]
}

/// `Σ a·b` in 8 lanes, which are then added in order; the lengths are equal and divisible by 8.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.as_chunks::<DOT_LANES>().0, b.as_chunks::<DOT_LANES>().0);
    let mut lanes = [0.0; DOT_LANES];
    for (a, b) in a.iter().zip(b) {
        lanes = std::array::from_fn(|j| lanes[j] + a[j] * b[j]);
    }
    lanes.iter().sum()
}
