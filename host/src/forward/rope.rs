//! Rotary tables: cosine and sine of every position and frequency.
use std::f32::consts::PI;

use rayon::prelude::*;

use crate::models::spec::{Rope, RopeScaling};

/// Cosine or sine of every angle, `[context, dims/2]`.
///
/// Angles are the f32 product of position and frequency, as transformers forms them; cosine and sine of that angle are
/// then exact to f32.
pub fn table(rope: &Rope, context: usize, function: fn(f64) -> f64) -> Vec<f32> {
    let frequencies = frequencies(rope);
    let angle = |index: usize| (index / frequencies.len()) as f32 * frequencies[index % frequencies.len()];
    let count = context * frequencies.len();
    (0..count).into_par_iter().map(|index| function(f64::from(angle(index))) as f32).collect()
}

/// `theta^(−2j/dims)`, stretched as the scaling says (`_compute_llama3_parameters` of transformers), in f32 throughout.
fn frequencies(rope: &Rope) -> Vec<f32> {
    let base = rope.theta as f32;
    let plain = (0..rope.dims / 2).map(|j| 1.0 / base.powf((2 * j) as f32 / rope.dims as f32));
    match rope.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Linear { factor } => plain.map(|frequency| frequency / factor as f32).collect(),
        RopeScaling::Llama3 { factor, low, high, original_context } => {
            let (factor, low, high, context) = (factor as f32, low as f32, high as f32, original_context as f32);
            plain.map(|frequency| llama3(frequency, factor, low, high, context)).collect()
        }
    }
}

fn llama3(frequency: f32, factor: f32, low: f32, high: f32, context: f32) -> f32 {
    let wavelength = 2.0 * PI / frequency;
    if wavelength < context / high {
        frequency
    } else if wavelength > context / low {
        frequency / factor
    } else {
        let smooth = (context / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_turns_by_its_frequency() {
        let rope = Rope { dims: 4, theta: 10_000.0, scaling: RopeScaling::None };
        let (cos, sin) = (table(&rope, 3, f64::cos), table(&rope, 3, f64::sin));
        assert_eq!((cos[0], sin[0]), (1.0, 0.0));
        for (index, angle) in [(4, 2.0f64), (5, 0.02)] {
            assert!((f64::from(cos[index]) - angle.cos()).abs() < 1e-7, "{index}");
            assert!((f64::from(sin[index]) - angle.sin()).abs() < 1e-7, "{index}");
        }
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let of = |frequency| llama3(frequency, 8.0, 1.0, 4.0, 8192.0);
        assert_eq!(of(1.0), 1.0);
        assert_eq!(of(1e-5), 1e-5 / 8.0);
        let middle = 2.0 * PI / 4096.0;
        assert!((of(middle) - middle * (1.0 / 3.0 + 2.0 / 3.0 / 8.0)).abs() < 1e-9);
    }
}
