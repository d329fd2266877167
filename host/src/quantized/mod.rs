//! Quantized weights as exporters store them: the stored tensors tell the format, and become rows in it (docs/formats.md).
//!
//! * `grid`: scales of any stored type, by row and group
//! * `bytes`: 8 bits a code; `nibbles`: 4-bit integers, `zeros`: their zero points; `nvfp4`
//! * `lines`: codes that a file has column beside column
//! * `gptq`, `awq`, `compressed`, `modelopt`: which tensors each exporter writes
//! * `recipe`: codes that are made here, of bf16 weights
//! * `plain`: any of them as f32, where a product has no common format
mod awq;
mod bytes;
mod compressed;
mod errors;
mod gptq;
mod grid;
mod lines;
mod modelopt;
mod nibbles;
mod nvfp4;
mod order;
mod plain;
mod recipe;
mod zeros;

use std::ops::Range;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Dtype, StoredTensor};
use crate::device::{Check, FileRange, Format, RowSource, WeightPart};
use crate::error::Result;

pub use errors::unsupported;
pub use grid::number;
pub use order::Order;
pub use recipe::{Recipe, int4_group, is_one_module, quantize};

/// What the name of a weight ends with.
const WEIGHT: &str = ".weight";

/// Stored in place of `.weight` by tools whose files are not read.
const FOREIGN: [(&str, &str); 6] = [
    (".q_weight", "EXL2"),
    (".W_q", "HQQ"),
    (".codes", "AQLM"),
    (".trellis", "EXL3"),
    (".B", "Marlin"),
    (".compressed", "compressed-tensors, sparse"),
];

/// Beside the codes, from tools whose files are not read.
const FOREIGN_BESIDE: [(&str, &str); 4] =
    [(".weight.absmax", "bitsandbytes"), (".SCB", "bitsandbytes"), (".biases", "MLX"), (".meta", "Marlin, sparse")];

/// What stands beside `.weight` where that is quantized.
const SCALES: [&str; 4] = [".weight_scale", ".weight_scale_inv", ".weight_scale_2", ".scales"];

/// What may stand beside a quantized weight, is consumed with it, or is of no use without quantized activations.
const BESIDE: [&str; 19] = [
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_scale_2",
    ".weight_global_scale",
    ".weight_zero_point",
    ".weight_shape",
    ".weight_g_idx",
    ".input_scale",
    ".input_global_scale",
    ".input_zero_point",
    ".pre_quant_scale",
    ".k_scale",
    ".v_scale",
    ".q_scale",
];

/// Where a tensor's bytes are, to be read.
pub fn range(stored: &StoredTensor) -> FileRange {
    let (file, start) = stored.place();
    FileRange { file, path: stored.file.clone(), start }
}

/// Rows of one stored weight in a format.
trait Codes: Send + Sync {
    /// Fills `target` with rows in `format`, the one that was found or one that holds it; of NVFP4 as [`RowSource::fill`] does.
    fn rows(&self, format: Format, rows: Range<usize>, target: &mut [u8]) -> Result<()>;

    /// Fills `target` with the scales that stand beside those rows.
    fn scales(&self, _format: Format, _rows: Range<usize>, _target: &mut [f32]) -> Result<()> {
        Ok(())
    }

    /// The codes where they already are rows of the format.
    fn in_place(&self) -> Option<WeightPart> {
        None
    }

    /// What the bytes of codes must pass.
    fn check(&self) -> Option<Check> {
        None
    }
}

/// A weight `[n, k]` that is stored quantized.
#[derive(Clone)]
pub struct Quantized {
    /// The format that holds it exactly; `F32` where no packed one does.
    pub format: Format,
    /// The order of its columns in that format, where it is not the file's.
    pub order: Option<Order>,
    /// `[k]`: what the inputs are multiplied by.
    pub factor: Option<Arc<StoredTensor>>,
    shape: [usize; 2],
    /// The format that `codes` can give.
    packed: Format,
    /// Whether the four lowest bits of all scales are free for zero points.
    free_bits: bool,
    codes: Arc<dyn Codes>,
}

impl std::fmt::Debug for Quantized {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Quantized({:?}, {:?})", self.format, self.shape)
    }
}

impl Quantized {
    /// The weight of that name, `….weight`, and shape `[n, k]`; none where it is stored as plain numbers or not at all.
    ///
    /// # Errors
    /// What is stored is incomplete, of a wrong shape or type, or of a tool whose files are not read.
    pub fn find(checkpoint: &Checkpoint, name: &str, shape: [usize; 2]) -> Result<Option<Quantized>> {
        let Some(module) = name.strip_suffix(WEIGHT) else { return Ok(None) };
        let module = Module { checkpoint, name: module, shape };
        let foreign = FOREIGN.iter().chain(&FOREIGN_BESIDE).find(|(suffix, _)| module.get(suffix).is_some());
        if let Some((suffix, tool)) = foreign {
            return Err(unsupported(format_args!("{}{suffix}: a tensor of {tool}", module.name)));
        }
        if module.get(".qweight").is_some() {
            return gptq::find(&module).map(Some);
        }
        if module.get(".weight_packed").is_some() {
            return compressed::find_packed(&module).map(Some);
        }
        match module.get(WEIGHT) {
            Some(weight) if weight.is_plain() => module.refuse_scales(weight).map(|()| None),
            Some(weight) => modelopt::find(&module, weight).map(Some),
            None => Ok(None),
        }
    }

    /// The weight in a format: the one that was found, one that [`Quantized::common`] gave, or `F32`.
    pub fn part(&self, format: Format) -> WeightPart {
        let [rows, columns] = self.shape;
        if format == Format::F32 && self.packed != Format::F32 {
            return WeightPart::made(format, rows, columns, Arc::new(plain::Plain::of(self.clone())));
        }
        let source = Source { format, codes: self.codes.clone() };
        let part = match self.codes.in_place() {
            Some(part) => part,
            None => WeightPart::made(format, rows, columns, Arc::new(source)),
        };
        let part = match self.codes.check() {
            Some(check) => part.checked(check),
            None => part,
        };
        let part = match format.scales(columns as u64) {
            0 => part,
            scales => {
                let source = Arc::new(Scales { format, codes: self.codes.clone() });
                part.scaled_by(WeightPart::made(Format::F32, rows, scales as usize, source))
            }
        };
        let part = match &self.order {
            Some(order) => part.ordered_by(WeightPart::made(Format::I32, 1, columns, Arc::new(order.clone()))),
            None => part,
        };
        match &self.factor {
            Some(factor) => {
                part.factored_by(WeightPart::made(Format::F32, 1, columns, Arc::new(plain::Factors(factor.clone()))))
            }
            None => part,
        }
    }

    /// A format that holds all of `weights`, which are parts of one product: none where only `F32` does.
    pub fn common(weights: &[Quantized]) -> Option<Format> {
        let first = weights.first()?;
        let same_input = |other: &Quantized| {
            let factors = [first, other].map(|it| it.factor.as_ref().map(|factor| (factor.dtype, factor.data())));
            other.order == first.order && factors[0] == factors[1]
        };
        if first.format == Format::F32 || !weights.iter().all(same_input) {
            return None;
        }
        weights.iter().skip(1).try_fold(first.format, |common, weight| match (common, weight.format) {
            (one, other) if one == other => Some(one),
            (Format::Int4 { group, zeros }, Format::Int4 { group: other, zeros: others }) => {
                let free = weights.iter().all(|weight| weight.free_bits);
                let zeros = zeros || others;
                (!zeros || free).then(|| Format::Int4 { group: group.min(other), zeros })
            }
            _ => None,
        })
    }
}

/// The tensors around a stored weight.
struct Module<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    shape: [usize; 2],
}

impl Module<'_> {
    fn get(&self, suffix: &str) -> Option<&Arc<StoredTensor>> {
        self.checkpoint.tensor(&format!("{}{suffix}", self.name))
    }

    /// The tensor that must be there.
    fn need(&self, suffix: &str) -> Result<&Arc<StoredTensor>> {
        self.get(suffix).ok_or_else(|| errors::incomplete(self, suffix))
    }

    /// What the inputs are multiplied by.
    fn factor(&self) -> Result<Option<Arc<StoredTensor>>> {
        let suffix = ".pre_quant_scale";
        let Some(factor) = self.get(suffix) else { return Ok(None) };
        if !factor.is_plain() {
            return Err(errors::wrong_type(self, suffix, factor, "BF16, F16 or F32"));
        }
        if factor.shape.iter().product::<usize>() != self.columns() {
            return Err(errors::wrong_shape(self, suffix, factor, format_args!("[{}]", self.columns())));
        }
        Ok(Some(factor.clone()))
    }

    /// Refuses scales beside plain numbers.
    fn refuse_scales(&self, weight: &StoredTensor) -> Result<()> {
        match SCALES.iter().find(|suffix| self.get(suffix).is_some()) {
            Some(suffix) => Err(errors::scaled_plain(self, weight, suffix)),
            None => Ok(()),
        }
    }

    /// Refuses scales that are powers of two, stored as their exponents.
    fn refuse_mx(&self) -> Result<()> {
        match self.get(".weight_scale").filter(|scale| scale.dtype == Dtype::U8) {
            Some(_) => Err(unsupported(format_args!("{}.weight_scale: U8, as MXFP8 and MXFP4 have it", self.name))),
            None => Ok(()),
        }
    }

    fn rows(&self) -> usize {
        self.shape[0]
    }

    fn columns(&self) -> usize {
        self.shape[1]
    }
}

/// Whether something is stored as that weight, quantized or not.
pub fn is_stored(checkpoint: &Checkpoint, name: &str) -> bool {
    let packed = |module: &str| {
        [".qweight", ".weight_packed"].iter().any(|suffix| checkpoint.tensor(&format!("{module}{suffix}")).is_some())
    };
    checkpoint.tensor(name).is_some() || name.strip_suffix(WEIGHT).is_some_and(packed)
}

/// The weight that a tensor stands beside, if its name says so.
pub fn beside(name: &str) -> Option<String> {
    let module = BESIDE.iter().find_map(|suffix| name.strip_suffix(suffix))?;
    Some(format!("{module}{WEIGHT}"))
}

/// Rows of codes.
struct Source {
    format: Format,
    codes: Arc<dyn Codes>,
}

impl RowSource for Source {
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        self.codes.rows(self.format, rows, target)
    }
}

/// Rows of the scales beside them.
struct Scales {
    format: Format,
    codes: Arc<dyn Codes>,
}

impl RowSource for Scales {
    fn fill(&self, rows: Range<usize>, target: &mut [u8]) -> Result<()> {
        let mut scales = vec![0.0; target.len() / 4];
        self.codes.scales(self.format, rows, &mut scales)?;
        target.copy_from_slice(bytemuck::cast_slice(&scales));
        Ok(())
    }
}
