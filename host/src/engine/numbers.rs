//! Logits that are no numbers, as errors: what was found, and where. No token can be chosen from them.
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};

use crate::error::{Category, Error, Result};

/// Whether the logits of `place` are numbers, by the fault that `argmax` has noted for them.
///
/// # Errors
/// They are not: one is NaN or +∞, or all are −∞.
pub fn check_fault(fault: i32, place: impl std::fmt::Display) -> Result<()> {
    let found = match fault {
        0 => return Ok(()),
        NONE_FINITE => "every logit is -inf, or every token is forbidden",
        _ => "a logit is NaN or +inf",
    };
    Err(Error::new(Category::Model, "The model's logits are not numbers")
        .details(format_args!("{place}: expected finite logits, or -inf beside them; {found}"))
        .hint("a damaged or badly converted weight gives this: download or convert the checkpoint again"))
}

/// Whether the host finds numbers in a row of logits.
///
/// # Errors
/// As [`check_fault`].
pub(super) fn check_row(row: &[f32], place: impl std::fmt::Display) -> Result<()> {
    let fault = if row.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        NOT_A_NUMBER
    } else if row.iter().all(|logit| *logit == f32::NEG_INFINITY) {
        NONE_FINITE
    } else {
        0
    };
    check_fault(fault, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_infinity_is_a_number_beside_a_finite_one() {
        let check = |row: &[f32]| check_row(row, "here").map_err(|error| error.details_text().to_owned());
        let (infinite, nan) = (f32::INFINITY, f32::NAN);
        assert_eq!(check(&[-infinite, -1e30, -infinite]), Ok(()));
        for row in [[0.0, nan, 0.0], [0.0, 0.0, infinite], [-infinite, -nan, -infinite]] {
            assert!(check(&row).unwrap_err().starts_with("here: ") && check(&row).unwrap_err().contains("NaN or +inf"));
        }
        assert!(check(&[-infinite; 3]).unwrap_err().contains("every logit is -inf"));
    }
}
