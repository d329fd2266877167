//! `Recipe`: makes codes of bf16 weights while they are copied, with the scales of NVIDIA's ModelOpt.
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use gpu_kernels::format::nibble_bytes;
use half::bf16;
use rayon::prelude::*;

use super::{WEIGHT, errors};
use crate::device::{Format, RowSource, WeightPart, e2m1_code, e4m3, e4m3_code, nvfp4_apart};
use crate::error::Result;

/// Rows that are read together.
const TOGETHER: usize = 16;
/// Columns that share a scale in 4-bit integers, where they divide the row.
const INT4_GROUPS: [usize; 3] = [128, 64, 32];

/// How weights become codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// e4m3, with a scale of each matrix: its largest magnitude / 448.
    Fp8,
    /// 8-bit integers, with a scale of each row: its largest magnitude / 127.
    Int8,
    /// 4-bit integers, with a scale of 128 columns: their largest magnitude / 7.
    Int4,
    /// e2m1, with an e4m3 scale of 16 columns and an f32 scale of each matrix: its largest magnitude / (6 · 448).
    Nvfp4,
}

impl Recipe {
    /// The words for them.
    pub const NAMES: [&str; 4] = ["fp8", "int8", "int4", "nvfp4"];

    /// The format of a matrix of `columns` columns; none where its groups do not divide them.
    pub fn format(self, columns: usize) -> Option<Format> {
        match self {
            Recipe::Fp8 => Some(Format::Fp8 { group: 0 }),
            Recipe::Int8 => Some(Format::Int8 { group: 0 }),
            // One group for all of a row is as good as one of 64, which is how a file's is read.
            Recipe::Int4 => match int4_group(columns)? {
                32 if columns > 32 => Some(Format::Int4 { group: 32, zeros: false }),
                _ => Some(Format::Int4 { group: 64, zeros: false }),
            },
            Recipe::Nvfp4 => columns.is_multiple_of(16).then_some(Format::Nvfp4),
        }
    }
}

/// Columns that share a scale in the 4-bit integers of a row; none where no group divides it.
pub fn int4_group(columns: usize) -> Option<usize> {
    INT4_GROUPS.into_iter().find(|size| columns.is_multiple_of(*size))
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Recipe, String> {
        let recipes = [Recipe::Fp8, Recipe::Int8, Recipe::Int4, Recipe::Nvfp4];
        let named = Recipe::NAMES.into_iter().zip(recipes).find(|(name, _)| *name == text);
        named.map(|(_, recipe)| recipe).ok_or_else(|| format!("expected one of {}", Recipe::NAMES.join(", ")))
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(Recipe::NAMES[*self as usize])
    }
}

/// The matrices of one module, rows of bf16 by the names of their tensors, in `format`, which a recipe gave. In NVFP4 they
/// share the matrix's scale, as ModelOpt exports them: an engine that runs them as one product has but one.
///
/// # Errors
/// A file can not be read, or a weight is not a number.
pub fn quantize(weights: Vec<(Arc<str>, WeightPart)>, format: Format) -> Result<Vec<WeightPart>> {
    let largest: Vec<f32> = match format {
        Format::Fp8 { .. } | Format::Nvfp4 => weights.iter().map(largest).collect::<Result<_>>()?,
        _ => vec![0.0; weights.len()],
    };
    let shared = largest.iter().copied().fold(0.0, f32::max);
    let made = weights.into_iter().zip(largest).map(|((name, weight), own)| {
        let (rows, columns) = (weight.rows(), weight.columns());
        let largest = if format == Format::Nvfp4 { shared } else { own };
        let maker = Arc::new(Maker { name, weight, format, largest });
        let part = WeightPart::made(format, rows, columns, maker.clone());
        match format.scales(columns as u64) {
            0 => part,
            scales => part.scaled_by(WeightPart::made(Format::F32, rows, scales as usize, Arc::new(Scales(maker)))),
        }
    });
    Ok(made.collect())
}

/// Whether two matrices of a product belong to one module, as q and k do, and two experts do not.
pub fn is_one_module(one: &str, other: &str) -> bool {
    let module = |name: &str| Some(name.strip_suffix(WEIGHT)?.rsplit_once('.')?.0.to_owned());
    module(one).is_some_and(|found| module(other) == Some(found))
}

/// The largest magnitude of a matrix.
fn largest((name, weight): &(Arc<str>, WeightPart)) -> Result<f32> {
    let firsts: Vec<usize> = (0..weight.rows()).step_by(TOGETHER).collect();
    let of =
        |first: &usize| rows_of(name, weight, *first..weight.rows().min(first + TOGETHER)).map(|rows| magnitude(&rows));
    firsts.par_iter().map(of).try_reduce(|| 0.0, |a, b| Ok(a.max(b)))
}

/// # Errors
/// The file can not be read; or an element is no number, which no code stands for.
fn rows_of(name: &str, weight: &WeightPart, rows: Range<usize>) -> Result<Vec<f32>> {
    let mut bytes = vec![0; rows.len() * weight.bytes_of_row()];
    weight.copy_rows(rows.clone(), &mut bytes)?;
    let values: Vec<f32> = bytes.as_chunks::<2>().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect();
    if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return Ok(values);
    }
    let at = values.iter().position(|value| !value.is_finite()).unwrap_or_default();
    let place = [rows.start + at / weight.columns(), at % weight.columns()];
    Err(errors::no_number(name, place, values[at]))
}

fn magnitude(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// A scale; 1 where all is zero.
fn scale(largest: f32, most: f32) -> f32 {
    if largest > 0.0 { largest / most } else { 1.0 }
}

/// Rows of bf16 that become codes.
struct Maker {
    name: Arc<str>,
    weight: WeightPart,
    format: Format,
    /// The largest magnitude of the matrix, where its scale needs that.
    largest: f32,
}

impl Maker {
    /// The scale that stands beside the codes of a row.
    fn scale(&self, row: &[f32]) -> f32 {
        match self.format {
            Format::Fp8 { .. } => scale(self.largest, 448.0),
            Format::Nvfp4 => scale(self.largest, 6.0 * 448.0),
            _ => scale(magnitude(row), 127.0),
        }
    }

    fn row(&self, row: &[f32], target: &mut [u8]) {
        target.fill(0);
        let scale = self.scale(row);
        match self.format {
            Format::Fp8 { .. } => row.iter().zip(target).for_each(|(w, code)| *code = e4m3_code(w / scale)),
            Format::Int8 { .. } => {
                let code = |w: &f32| (w / scale).round_ties_even().clamp(-128.0, 127.0) as i8;
                row.iter().zip(target).for_each(|(w, target)| *target = code(w).cast_unsigned());
            }
            Format::Int4 { group, .. } => self.integers(row, group as usize, target),
            other => unreachable!("{other:?} has no rows of codes alone"),
        }
    }

    /// Does `make` with each row and its target.
    fn each<T>(
        &self,
        rows: Range<usize>,
        mut targets: impl Iterator<Item = T>,
        make: impl Fn(&[f32], T),
    ) -> Result<()> {
        for first in rows.clone().step_by(TOGETHER) {
            let values = rows_of(&self.name, &self.weight, first..rows.end.min(first + TOGETHER))?;
            values.chunks_exact(self.weight.columns()).zip(&mut targets).for_each(|(row, target)| make(row, target));
        }
        Ok(())
    }

    fn integers(&self, row: &[f32], entry: usize, target: &mut [u8]) {
        let size = int4_group(row.len()).expect("the recipe said so");
        let scales: Vec<f32> = row.chunks(size).map(|group| scale(magnitude(group), 7.0)).collect();
        let (codes, entries) = target.split_at_mut(nibble_bytes(row.len() as u32) as usize);
        for (place, target) in entries.as_chunks_mut::<4>().0.iter_mut().enumerate().take(row.len().div_ceil(entry)) {
            *target = scales[place * entry / size].to_le_bytes();
        }
        for (column, w) in row.iter().enumerate() {
            let code = (w / scales[column / size]).round_ties_even().clamp(-8.0, 7.0) as i8 + 8;
            codes[column / 2] |= code.cast_unsigned() << (column % 2 * 4);
        }
    }
}

/// Codes, two in a byte, and scales of 16 columns; `global` is the matrix's scale.
fn nvfp4(row: &[f32], global: f32, codes: &mut [u8], scales: &mut [u8]) {
    /// The least scale that is not zero.
    const LEAST: u8 = 1;
    for ((values, code), bytes) in row.chunks(16).zip(scales).zip(codes.as_chunks_mut::<8>().0) {
        *code = e4m3_code(magnitude(values) / (6.0 * global)).max(LEAST);
        let scale = e4m3(*code) * global;
        for ([even, odd], byte) in values.as_chunks::<2>().0.iter().zip(bytes) {
            *byte = e2m1_code(even / scale) | e2m1_code(odd / scale) << 4;
        }
    }
}

impl RowSource for Maker {
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let columns = self.weight.columns();
        if self.format == Format::Nvfp4 {
            let [code_bytes, scale_bytes] = nvfp4_apart(columns);
            let (codes, scales) = target.split_at_mut(rows.len() * code_bytes);
            let targets = codes.chunks_exact_mut(code_bytes).zip(scales.chunks_exact_mut(scale_bytes));
            return self.each(rows, targets, |row, (codes, scales)| nvfp4(row, self.scale(row), codes, scales));
        }
        let row_bytes = self.format.row_bytes(columns as u64) as usize;
        self.each(rows, target.chunks_exact_mut(row_bytes), |row, target| self.row(row, target))
    }
}

/// The scales beside the codes that a maker makes.
struct Scales(Arc<Maker>);

impl RowSource for Scales {
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let maker = &self.0;
        for (row, target) in rows.zip(target.as_chunks_mut::<4>().0) {
            let values = match maker.format {
                Format::Int8 { .. } => rows_of(&maker.name, &maker.weight, row..row + 1)?,
                _ => Vec::new(),
            };
            *target = maker.scale(&values).to_le_bytes();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::device::{e2m1, unpack};

    /// 5 rows of 304 numbers, of which one row is zero: a whole block and a short one, groups of 16.
    fn matrix(columns: usize) -> (Vec<f32>, WeightPart) {
        let number = |i: usize| if i / columns == 3 { 0.0 } else { ((i * 37 % 101) as f32 - 50.0) * 0.013 };
        let values: Vec<bf16> = (0..5 * columns).map(|i| bf16::from_f32(number(i))).collect();
        let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&values));
        let widened = values.iter().map(|value| value.to_f32()).collect();
        (widened, WeightPart::new(data, columns, 0..5, 0..columns))
    }

    /// The numbers that a made weight stands for, and its scales.
    fn made(recipe: Recipe, columns: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (values, part) = matrix(columns);
        let parts = quantize(vec![("w".into(), part)], recipe.format(columns).unwrap()).unwrap();
        let part = parts[0].clone().in_memory().unwrap();
        let scales: Vec<f32> = part.scales().map_or(vec![], |scales| {
            (0..5).map(|row| f32::from_le_bytes(scales.row_bytes(row).try_into().unwrap())).collect()
        });
        let numbers = (0..5).flat_map(|row| {
            let mut out = vec![0.0; columns];
            unpack(part.format(), part.row_bytes(row), scales.get(row..).unwrap_or_default(), &mut out);
            out
        });
        (values, numbers.collect(), scales)
    }

    /// The nearest of all numbers that a scale's codes stand for.
    fn nearest(value: f32, scale: f32, codes: impl Iterator<Item = f32>) -> f32 {
        let distance = |code: &f32| (f64::from(*code) * f64::from(scale) - f64::from(value)).abs();
        codes.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap() * scale
    }

    fn check(value: f32, found: f32, want: f32, what: &str) {
        let off = |x: f32| (f64::from(x) - f64::from(value)).abs();
        assert!(off(found) <= off(want) * (1.0 + 1e-5) + 1e-9, "{what}: {value} became {found}, nearest is {want}");
    }

    #[test]
    fn eight_bits_are_the_nearest_codes_at_the_recipes_scales() {
        let (values, numbers, scales) = made(Recipe::Fp8, 304);
        assert!(scales.iter().all(|scale| *scale == magnitude(&values) / 448.0));
        let finite = || (0..=255).map(e4m3).filter(|value| value.is_finite());
        values.iter().zip(&numbers).for_each(|(v, n)| check(*v, *n, nearest(*v, scales[0], finite()), "fp8"));
        let (values, numbers, scales) = made(Recipe::Int8, 304);
        for (i, (v, n)) in values.iter().zip(&numbers).enumerate() {
            let row = magnitude(&values[i / 304 * 304..][..304]);
            assert_eq!(scales[i / 304], if row > 0.0 { row / 127.0 } else { 1.0 });
            check(*v, *n, nearest(*v, scales[i / 304], (-128..128).map(|code| code as f32)), "int8");
        }
    }

    #[test]
    fn four_bits_are_the_nearest_codes_at_the_recipes_scales() {
        for (columns, size) in [(384, 128), (320, 64), (96, 32)] {
            let (values, numbers, _) = made(Recipe::Int4, columns);
            for (group, (values, numbers)) in values.chunks(size).zip(numbers.chunks(size)).enumerate() {
                let scale = scale(magnitude(values), 7.0);
                let near = |v: f32| nearest(v, scale, (-8..8).map(|code| code as f32));
                values.iter().zip(numbers).for_each(|(v, n)| check(*v, *n, near(*v), &format!("int4, group {group}")));
            }
        }
        let (values, numbers, scales) = made(Recipe::Nvfp4, 304);
        for (values, numbers) in values.chunks(16).zip(numbers.chunks(16)) {
            // The block's scale is the e4m3 nearest to its largest magnitude / 6, in units of the matrix's.
            let wanted = magnitude(values) / 6.0 / scales[0];
            let block = nearest(wanted, 1.0, (1..=0x7e).map(e4m3)) * scales[0];
            let near = |v: f32| nearest(v, block, (0..16).map(e2m1));
            values.iter().zip(numbers).for_each(|(v, n)| check(*v, *n, near(*v), "nvfp4"));
        }
        assert!(Recipe::Nvfp4.format(24).is_none() && Recipe::Int4.format(48).is_none());
    }

    #[test]
    fn matrices_of_one_module_share_the_scale_of_nvfp4_alone() {
        let half = |part: &WeightPart| {
            let bytes: Vec<u8> = (0..5).flat_map(|row| part.row_bytes(row).to_vec()).collect();
            let halves =
                bytes.as_chunks::<2>().0.iter().map(|two| bf16::from_f32(bf16::from_le_bytes(*two).to_f32() / 2.0));
            let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&halves.collect::<Vec<_>>()));
            WeightPart::new(data, 304, 0..5, 0..304)
        };
        let scale = |part: &WeightPart| {
            let scales = part.scales().unwrap().clone().in_memory().unwrap();
            f32::from_le_bytes(scales.row_bytes(0).try_into().unwrap())
        };
        let (values, part) = matrix(304);
        for (recipe, ratio, most) in [(Recipe::Nvfp4, 1.0, 2688.0), (Recipe::Fp8, 2.0, 448.0)] {
            let both = vec![("a.q.weight".into(), half(&part)), ("a.k.weight".into(), part.clone())];
            let made = quantize(both, recipe.format(304).unwrap()).unwrap();
            assert_eq!(scale(&made[1]), magnitude(&values) / most);
            assert_eq!(scale(&made[1]) / scale(&made[0]), ratio, "{recipe}");
        }
        assert!(is_one_module("a.0.q.weight", "a.0.k.weight"));
        assert!(!is_one_module("a.0.q.weight", "a.1.q.weight") && !is_one_module("q.weight", "k.weight"));
    }

    #[test]
    fn what_is_no_number_has_no_code() {
        for wrong in [bf16::NAN, bf16::NEG_INFINITY] {
            let mut values = vec![bf16::ONE; 3 * 64];
            values[2 * 64 + 5] = wrong;
            let data = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&values));
            for recipe in [Recipe::Fp8, Recipe::Int8, Recipe::Int4, Recipe::Nvfp4] {
                let part = WeightPart::new(data.clone(), 64, 0..3, 0..64);
                let made = quantize(vec![("a.q.weight".into(), part)], recipe.format(64).unwrap());
                let error = made.and_then(|made| made[0].clone().in_memory()).unwrap_err().to_string();
                assert!(
                    error.contains("A weight is not a number") && error.contains("a.q.weight: at [2, 5]"),
                    "{error}"
                );
            }
        }
    }
}
