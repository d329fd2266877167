//! The weights of products on the device, and which kernels take them.
use std::ops::Range;

use gpu_kernels::{
    GEMV_MAX_ROWS, Packed, Ptr, QuantGemm, QuantGemv, SkinnyGemm, Weight, Widen, activation, skinny_gemm,
};

use super::Limits;
use crate::device::{BufferId, Format, Output};

/// The weight of a product on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductBuffer {
    pub weight: BufferId,
    /// What is known of the weight where it is packed codes.
    pub packed: Option<PackedBuffer>,
    /// What is done to the input first.
    pub input: Option<ChangedInput>,
    /// Where many rows of the input become codes, if they do.
    pub quantized: Option<QuantizedInput>,
    pub bias: Option<BufferId>,
    /// The sums of blocks that share the columns of a product.
    pub partial: Option<BufferId>,
    /// This rank's part of the results, where each rank has some of the columns and they meet behind the product.
    pub part_of_rank: Option<PartOfRank>,
    /// Rows of the weight: the width of the result.
    pub n: usize,
    /// Columns of the weight: the width of the input.
    pub k: usize,
}

/// Where a rank's part of a product's results goes: of as few rows as `gemv` takes unrounded, but where a weight that does not stream has
/// something added to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartOfRank {
    /// `[rows up to GEMV_MAX_ROWS, n]` f32.
    pub few: BufferId,
    /// `[rows, n]` activations.
    pub many: BufferId,
}

impl PartOfRank {
    /// Where that of `rows` rows goes.
    pub fn of(self, rows: u32) -> Output {
        if rows <= GEMV_MAX_ROWS { Output::F32(self.few.ptr()) } else { Output::Act(self.many.ptr()) }
    }
}

/// Packed codes on the device, and where rows of them are widened to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedBuffer {
    pub format: Format,
    /// `[n, scales of a row]`.
    pub scales: Option<BufferId>,
    /// `[rows, k]` activations.
    pub panel: BufferId,
    /// Rows that are widened at a time: [`panel_rows`].
    pub rows: usize,
}

/// An input whose columns are put into another order, or multiplied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangedInput {
    /// `[k]`.
    pub order: Option<BufferId>,
    /// `[k]`.
    pub factors: Option<BufferId>,
    /// `[rows, k]`.
    pub changed: BufferId,
}

/// An input as codes of e4m3.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuantizedInput {
    /// `[rows, k]`.
    pub codes: BufferId,
    /// `[rows]`.
    pub scales: BufferId,
}

impl PackedBuffer {
    /// Whether `quant_gemv` takes the format.
    pub fn streams(self) -> bool {
        QuantGemv::takes(self.format)
    }

    /// Whether `quant_gemm` takes a product of `rows` rows with the weight, which has `n`.
    pub fn takes_quant_gemm(self, rows: u32, n: usize) -> bool {
        rows <= skinny_gemm::MAX_ROWS && n.is_multiple_of(16) && QuantGemm::takes(self.format)
    }
}

impl ProductBuffer {
    pub fn shape(&self, rows: u32) -> [u32; 3] {
        [rows, self.n as u32, self.k as u32]
    }

    pub fn bias(&self) -> Ptr<Weight> {
        self.bias.map_or(Ptr::NULL, |bias| bias.ptr())
    }

    pub fn partial(&self) -> Ptr<f32> {
        self.partial.map_or(Ptr::NULL, |partial| partial.ptr())
    }

    /// Whether a few rows are multiplied with the weight as it is.
    pub fn streams(&self) -> bool {
        self.packed.is_none_or(PackedBuffer::streams)
    }

    /// The codes of a packed weight, and the scales beside them.
    pub fn codes(&self, packed: PackedBuffer) -> (Ptr<Packed>, Ptr<f32>) {
        (self.weight.ptr(), packed.scales.map_or(Ptr::NULL, |scales| scales.ptr()))
    }

    /// The step that widens rows `rows` to the panel; none where the weight is not packed.
    pub fn widen(&self, rows: Range<usize>) -> Option<Widen> {
        let PackedBuffer { format, scales, panel, .. } = self.packed?;
        let (first, k) = (rows.start as u64, self.k as u64);
        let codes = self.weight.ptr::<Packed>().offset(first * format.row_bytes(k));
        let scales = scales.map_or(Ptr::NULL, |scales| scales.ptr::<f32>().offset(first * format.scales(k)));
        Some(Widen::new(codes, scales, panel.ptr(), [rows.len() as u32, self.k as u32], format))
    }
}

/// How many rows of a packed weight `[n, k]` are widened at a time where a panel has so many elements: all, or whole tiles of
/// 16 rows, so that what is multiplied with each of them goes to where results are aligned.
pub(super) fn panel_rows(panel: usize, [n, k]: [usize; 2]) -> usize {
    ((panel / k / 16).max(1) * 16).min(n)
}

/// Whether a product of `[rows, n, k]` is `gemv`'s.
pub(super) fn takes_gemv(limits: &Limits, [rows, n, k]: [u32; 3]) -> bool {
    rows <= GEMV_MAX_ROWS || u64::from(n) * u64::from(k) <= limits.small_weight
}

/// Elements of a weight from which on `skinny_gemm` takes up to so many rows: so far it was faster than cuBLASLt, with up to 32 rows in
/// chains of a model's products on an H100, with 64 in steps on an H200; by itself it loses a little at 16 to 32 rows for some shapes
/// (docs/performance.md).
pub(super) const SKINNY: [(u32, u64); 2] = [(32, 9 << 20), (skinny_gemm::MAX_ROWS, 14 << 20)];

/// As [`SKINNY`] of a rank's part of a product: the ranks' sums need not wait for what its join sends.
const SKINNY_PARTS: (u32, u64) = (32, 8 << 20);

/// Whether a product of `[rows, n, k]` that is not `gemv`'s is `skinny_gemm`'s: where it is faster than the matrix library, or
/// there is none. Of a rank's part of a product, it `sends`.
pub(super) fn takes_skinny(limits: &Limits, [rows, n, k]: [u32; 3], sends: bool) -> bool {
    let elements = u64::from(n) * u64::from(k);
    let parts = Some(&SKINNY_PARTS).filter(|_| sends);
    let wins = SKINNY.iter().chain(parts).any(|(most, least)| rows <= *most && elements >= *least);
    let takes = if limits.gemms { rows <= limits.skinny_rows && wins } else { rows <= skinny_gemm::MAX_ROWS };
    takes && n.is_multiple_of(16)
}

/// Rows of a weight, times parts of 64 token rows, up to which `skinny_gemm` is faster part by part than `dense_gemm`, whose tiles
/// are too few then to fill a GPU: on an H200 two parts took 20 µs instead of 53 with a weight of 4096x4096, and
/// with 28672x4096 130 µs instead of 71.
const IN_PARTS: u32 = 24 << 10;

/// Whether a product of `[rows, n, k]`, more rows than `skinny_gemm` takes at once, is its part by part: without a matrix library.
pub(super) fn takes_parts(limits: &Limits, [rows, n, k]: [u32; 3]) -> bool {
    let most = skinny_gemm::MAX_ROWS;
    let is_alone = !limits.gemms && !takes_gemv(limits, [rows, n, k]) && takes_skinny(limits, [most, n, k], false);
    is_alone && rows > most && n.saturating_mul(rows.div_ceil(most)) <= IN_PARTS
}

/// Elements of the sums of blocks that share the columns of a weight `[n, k]`, of `skinny_gemm` or `quant_gemm`: 0 where none do,
/// and where the weight is never theirs.
pub(super) fn partials(limits: &Limits, [n, k]: [usize; 2], format: Format) -> usize {
    let rows = limits.rows.min(skinny_gemm::MAX_ROWS as usize);
    let plain = SkinnyGemm::new(Ptr::NULL, Ptr::NULL, [rows as u32, n as u32, k as u32]);
    let products = [activation::PLAIN, activation::SWIGLU].map(|activation| SkinnyGemm { activation, ..plain });
    if QuantGemm::takes(format) {
        let products = products.map(|around| QuantGemm::of(around, (Ptr::NULL, Ptr::NULL), format));
        let shared = products.iter().filter(|product| product.splits() > 1);
        return shared.map(QuantGemm::partials).max().unwrap_or(0);
    }
    if takes_gemv(limits, [rows as u32, n as u32, k as u32]) {
        return 0;
    }
    let shared = products.iter().filter(|product| product.splits() > 1);
    shared.map(SkinnyGemm::partials).max().unwrap_or(0)
}
