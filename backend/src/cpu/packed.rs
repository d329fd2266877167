//! Rows of a packed weight in memory, with the scales that stand beside them.
use std::cell::Ref;

use gpu_kernels::{Packed, Ptr};

use crate::device::{Memory, Weight, unpack};

/// A packed weight, borrowed.
pub struct PackedMatrix<'a> {
    weight: Ref<'a, Weight>,
    scales: Option<Ref<'a, [f32]>>,
    first: usize,
}

/// Its rows, as threads share them.
#[derive(Clone, Copy)]
pub struct PackedRows<'a> {
    weight: &'a Weight,
    scales: &'a [f32],
    first: usize,
}

impl<'a> PackedMatrix<'a> {
    /// The rows from `codes` on, and from `scales` on, which is null where the format has none beside its codes.
    pub fn of(memory: &'a Memory, codes: Ptr<Packed>, scales: Ptr<f32>) -> PackedMatrix<'a> {
        let (weight, offset) = memory.weight_from(codes);
        let bytes = weight.bytes_of_row();
        assert_eq!(offset % bytes, 0, "codes are named by rows");
        let scales = (!scales.is_null()).then(|| memory.read_all::<f32>(scales));
        PackedMatrix { weight, scales, first: offset / bytes }
    }

    /// As threads share it.
    pub fn rows(&self) -> PackedRows<'_> {
        let scales = self.scales.as_deref().unwrap_or_default();
        PackedRows { weight: &self.weight, scales, first: self.first }
    }
}

impl PackedRows<'_> {
    /// Row `row` as numbers.
    pub fn unpack(&self, row: usize, out: &mut [f32]) {
        let format = self.weight.format();
        let scales = row * format.scales(self.weight.columns() as u64) as usize;
        unpack(format, self.weight.row_bytes(self.first + row), &self.scales[scales..], out);
    }

    /// Row `row`, of `k` columns.
    pub fn unpacked(&self, row: usize, k: usize) -> Vec<f32> {
        let mut out = vec![0.0; k];
        self.unpack(row, &mut out);
        out
    }
}
