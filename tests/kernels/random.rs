//! Seeded random numbers: the same rows on every machine.
use half::bf16;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Uniform in −1 .. 1.
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Bell-shaped numbers of standard deviation `scale` that bf16 holds exactly, so that every precision starts from the
    /// same inputs.
    pub fn reals(&mut self, count: usize, scale: f32) -> Vec<f32> {
        let mut real = || {
            let bell: f32 = (0..3).map(|_| self.uniform()).sum();
            bf16::from_f32(bell * scale).to_f32()
        };
        (0..count).map(|_| real()).collect()
    }

    /// The same with as many digits as f32 holds.
    pub fn reals_in_full(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| (0..3).map(|_| self.uniform()).sum::<f32>() * scale).collect()
    }

    /// The numbers below `count` in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|i| order.swap(i, self.below(i + 1)));
        order
    }
}
