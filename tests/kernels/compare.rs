//! The one check: an outcome against the f64 oracle, or against the reference with the oracle's tolerance.
use gpu_kernels::Element;
use nemotron_backend::device::PlannedKernel;
use ptx_emulator::Options;

use crate::data::{Buffer, Data};
use crate::emulator::{Emulator, devices, ptx};
use crate::mutants::entry;
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::target::{Outcome, Target};

/// Faults that are printed of a row.
const PRINTED: usize = 5;

/// Fewest rows of a kernel.
const FEWEST_ROWS: usize = 10;

/// Holds C and D against the numbers in the kernel's doc block; without any there, the kernel is exact.
pub fn tolerance<K: Oracle>(source: &str) {
    let doc_lines: Vec<&str> = source.lines().take_while(|line| line.starts_with("//!")).collect();
    let doc_block = doc_lines.join("\n");
    let numerics = doc_block.split("# Numerics").nth(1).expect("a doc block has Numerics");
    let stated = |letter: &str| {
        let number = numerics.split(letter).nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        number.map_or(0.0, |number| number.parse::<f64>().expect("a number follows"))
    };
    assert_eq!((K::C, K::D), (stated("c = "), stated("d = ")), "{}", K::NAME);
}

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

/// Runs every row as PTX and compares it with the bf16 reference and with f64.
pub fn emulator<K: Oracle>(rows: Vec<Row<K>>) {
    let mut emulator = Emulator::new();
    let mut faults = Vec::new();
    for check in checks(&rows) {
        for device in devices(&check.row.kernel) {
            emulator.device = device;
            let symbol = PlannedKernel::launch(&check.row.kernel, &device).symbol;
            for options in orders(entry(ptx(&device), symbol).1) {
                emulator.options = options;
                faults.extend(check.faults(&mut emulator));
            }
        }
    }
    assert!(faults.is_empty(), "{}:\n{}", K::NAME, faults.join("\n"));
}

/// How an entry runs: where blocks tell each other something, one after the other too, since none may wait for another, and
/// out of order.
fn orders(entry: &str) -> impl Iterator<Item = Options> {
    let alone = Options { resident: 1, ..Options::default() };
    let shuffled = Options { shuffle: Some(1), ..Options::default() };
    let count = if entry.contains("atom.") || entry.contains("mbarrier.") { 3 } else { 1 };
    [Options::default(), alone, shuffled].into_iter().take(count)
}

/// A row with what its bf16 activations must be, by f64 and by the reference.
pub struct Check<'a, K> {
    pub row: &'a Row<K>,
    wants: Vec<Vec<Want>>,
    yardstick: Vec<Vec<Want>>,
}

/// What every row must come to on a target of bf16 activations.
pub fn checks<'a, K: Oracle>(rows: &'a [Row<K>]) -> Vec<Check<'a, K>> {
    let check = |row: &'a Row<K>| -> Check<'a, K> {
        let reference = Precision::Bf16.run(&row.kernel, &row.data);
        let reference = reference.unwrap_or_else(|fault| panic!("{}: {fault}", row.name));
        let wants = wants::<K>(row, Precision::Bf16);
        Check { row, yardstick: around(&wants, &reference), wants }
    };
    rows.iter().map(check).collect()
}

impl<K: Oracle> Check<'_, K> {
    /// What is wrong with the row on a target, in words.
    pub fn faults(&self, target: &mut dyn Target) -> Vec<String> {
        let outcome = match target.run(&self.row.kernel, &self.row.data) {
            Ok(outcome) => outcome,
            Err(fault) => return vec![format!("{}: {fault}", self.row.name)],
        };
        let tolerance = Tolerance::of::<K>(Precision::Bf16);
        let against = |other: &str, wants: &[Vec<Want>]| -> Vec<String> {
            let found = compare(&tolerance, &self.row.data, wants, &outcome);
            found.iter().map(|fault| format!("{}, {} against {other}: {fault}", self.row.name, target.name())).collect()
        };
        [against("the reference", &self.yardstick), against("f64", &self.wants)].concat()
    }
}

/// The oracle's tolerances around the reference's values.
fn around(wants: &[Vec<Want>], reference: &Outcome) -> Vec<Vec<Want>> {
    let around = |(want, reference): (&Want, &Option<f64>)| match (*want, *reference) {
        (Want::Value { error, terms, .. }, Some(value)) => Want::Value { value, error, terms },
        (Want::Optional { error, terms, .. }, Some(value)) => Want::Optional { value, error, terms },
        (Want::Bits { error, .. }, Some(bits)) => Want::Bits { value: float(bits), error },
        (want, _) => want,
    };
    wants.iter().zip(reference).map(|(wants, values)| wants.iter().zip(values).map(around).collect()).collect()
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
        // Integers are exact.
        if same(got, value) || element == Element::I32 || self.c == 0.0 && self.d == 0.0 {
            return same(got, value);
        }
        let plain = element == Element::F32 && (self.d == 0.0 || terms == 0.0);
        let ulp = if plain { Precision::F32.ulp(value) } else { self.precision.ulp(value) };
        (got - value).abs() <= ulp + self.c * 2f64.powi(-24) * error + self.d * 2f64.powi(-9) * terms
    }
}

/// The number whose bits an integer holds.
fn float(bits: f64) -> f64 {
    f64::from(f32::from_bits((bits as i32).cast_unsigned()))
}

/// Whether two values are equal; NaN is NaN here.
fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
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
        (Want::Any, _) | (Want::Optional { .. }, None) => true,
        (Want::Kept, Some(got)) => buffer.initial(index).is_some_and(|initial| same(got, initial)),
        (Want::Kept, None) => buffer.initial(index).is_none(),
        (Want::Value { .. } | Want::Bits { .. }, None) => false,
        (Want::Bits { value, error }, Some(got)) => tolerance.allows(Element::F32, float(got), value, error, 0.0),
        (Want::Value { value, error, terms } | Want::Optional { value, error, terms }, Some(got)) => {
            tolerance.allows(buffer.element, got, value, error, terms)
        }
    };
    (!fine).then(|| {
        let got = got.map_or("nothing".to_owned(), |got| format!("{got:e}"));
        match want {
            Want::Bits { value, error } => {
                format!("{}[{index}]: got the bits {got}, want those of {value:e} (E {error:.1e})", buffer.name)
            }
            Want::Value { value, error, terms } | Want::Optional { value, error, terms } => {
                format!("{}[{index}]: got {got}, want {value:e} (E {error:.1e}, terms {terms:.1e})", buffer.name)
            }
            Want::Kept | Want::Any => format!("{}[{index}]: got {got}, but it is not to be written", buffer.name),
        }
    })
}
