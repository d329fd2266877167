//! The one check: an outcome against the f64 oracle, or against the reference with the oracle's tolerance.
use gpu_kernels::Element;

use crate::data::{Buffer, Data};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::target::{Outcome, Target};

/// Faults that are printed of a row.
const PRINTED: usize = 5;

/// Fewest rows of a kernel.
const FEWEST_ROWS: usize = 10;

/// Runs every row on the references and compares them with f64.
pub fn references<K: Oracle>(rows: Vec<Row<K>>) {
    assert!(rows.len() >= FEWEST_ROWS, "{} has {} rows", K::NAME, rows.len());
    let mut faults = Vec::new();
    for row in &rows {
        for mut precision in [Precision::F32, Precision::Bf16] {
            let outcome = precision.run(&row.kernel, &row.data).unwrap_or_else(|fault| panic!("{}: {fault}", row.name));
            let wants = wants::<K>(row, precision);
            let found = compare(&Tolerance::of::<K>(precision), &row.data, &wants, &outcome);
            faults.extend(found.iter().map(|fault| format!("{}, {}: {fault}", row.name, precision.name())));
        }
    }
    assert!(faults.is_empty(), "{}:\n{}", K::NAME, faults.join("\n"));
}

/// What every element of every buffer must be; a buffer that the oracle does not name is kept.
fn wants<K: Oracle>(row: &Row<K>, precision: Precision) -> Vec<Vec<Want>> {
    let mut wants: Vec<Vec<Want>> = row.data.0.iter().map(|buffer| vec![Want::Kept; buffer.len()]).collect();
    for Written(buffer, elements) in row.kernel.oracle(&row.data, precision) {
        assert_eq!(elements.len(), wants[buffer as usize].len(), "{}: the oracle covers the buffer", row.name);
        wants[buffer as usize] = elements;
    }
    wants
}

/// |got − want| ≤ 1 ulp of want + c·2⁻²⁴·error + d·2⁻⁹·terms.
struct Tolerance {
    precision: Precision,
    c: f64,
    d: f64,
}

impl Tolerance {
    fn of<K: Oracle>(precision: Precision) -> Tolerance {
        // Only activations of bf16 have the intermediates that d stands for.
        let d = if precision == Precision::Bf16 { K::D } else { 0.0 };
        Tolerance { precision, c: K::C, d }
    }

    fn allows(&self, element: Element, got: f64, value: f64, error: f64, terms: f64) -> bool {
        if got == value || self.c == 0.0 && self.d == 0.0 {
            return got == value;
        }
        let plain = element == Element::F32 && self.d == 0.0;
        let ulp = if plain { Precision::F32.ulp(value) } else { self.precision.ulp(value) };
        (got - value).abs() <= ulp + self.c * 2f64.powi(-24) * error + self.d * 2f64.powi(-9) * terms
    }
}

/// The first faults, in words.
fn compare(tolerance: &Tolerance, data: &Data, wants: &[Vec<Want>], outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    for ((buffer, wants), got) in data.0.iter().zip(wants).zip(outcome) {
        for (index, (want, got)) in wants.iter().zip(got).enumerate() {
            faults.extend(fault(tolerance, buffer, index, *want, *got));
        }
    }
    let more = faults.len().saturating_sub(PRINTED);
    faults.truncate(PRINTED);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    faults
}

fn fault(tolerance: &Tolerance, buffer: &Buffer, index: usize, want: Want, got: Option<f64>) -> Option<String> {
    let fine = match (want, got) {
        (Want::Any, _) => true,
        (Want::Kept, got) => got == buffer.initial(index),
        (Want::Value { .. }, None) => false,
        (Want::Value { value, error, terms }, Some(got)) => tolerance.allows(buffer.element, got, value, error, terms),
    };
    (!fine).then(|| {
        let got = got.map_or("nothing".to_owned(), |got| format!("{got:e}"));
        match want {
            Want::Value { value, error, terms } => {
                format!("{}[{index}]: got {got}, want {value:e} (E {error:.1e}, terms {terms:.1e})", buffer.name)
            }
            Want::Kept | Want::Any => format!("{}[{index}]: got {got}, but it is not to be written", buffer.name),
        }
    })
}
