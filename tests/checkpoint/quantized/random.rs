//! Seeded numbers.

/// A linear congruential generator (Knuth's MMIX).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as u32 % bound
    }

    /// Uniform in −1 .. 1.
    pub fn uniform(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }

    /// A scale that f16 and bf16 hold.
    pub fn scale(&mut self) -> f32 {
        (1 + self.below(255)) as f32 / 65_536.0
    }
}
