//! Sums over a row in 8 lanes: short chains of additions, hence small errors, and the same bits everywhere.
const LANES: usize = 8;

/// `Σ terms`: lane j sums the terms i ≡ j mod 8, then the lanes are added in order.
pub fn sum(terms: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; LANES];
    for (i, term) in terms.enumerate() {
        lanes[i % LANES] += term;
    }
    lanes.iter().sum()
}

/// `Σ a·b` in the order of [`sum`]; the lengths are equal and divisible by 8.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (a.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0);
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        lanes = std::array::from_fn(|j| lanes[j] + a[j] * b[j]);
    }
    lanes.iter().sum()
}
