//! What the pools of attention keep: activations as they are, or codes of e4m3.
use crate::device::{Activation, Stored, e4m3, e4m3_code};

/// The code of what is no number.
const NAN: u8 = 0x7f;

/// An element of a pool.
pub trait Cached: Stored {
    /// What is kept of a number.
    fn of(number: f32, scale: f32) -> Self;

    /// The number that it stands for.
    fn number(self, scale: f32) -> f32;
}

impl<A: Activation> Cached for A {
    fn of(number: f32, _: f32) -> A {
        A::from_f32(number)
    }

    fn number(self, _: f32) -> f32 {
        self.to_f32()
    }
}

impl Cached for u8 {
    fn of(number: f32, scale: f32) -> u8 {
        let divided = number / scale;
        if divided.is_nan() { NAN } else { e4m3_code(divided.clamp(-448.0, 448.0)) }
    }

    fn number(self, scale: f32) -> f32 {
        e4m3(self) * scale
    }
}

/// Fills a row of a pool with some activations.
pub fn keep<A: Activation, E: Cached>(row: &mut [E], activations: &[A], scale: f32) {
    row.iter_mut().zip(activations).for_each(|(kept, number)| *kept = E::of(number.to_f32(), scale));
}
