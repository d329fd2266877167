//! `Builder`: what a block kind asks its buffers of, while a model is laid out.
use gpu_kernels::{Element, GEMV_MAX_ROWS, KvFormat, PAGE_TOKENS, QuantGemv, rms_norm};

use super::Limits;
use super::memory_plan::{BLOCK_PREFIX, Beside, Content, MemoryPlan};
use super::product_buffers::{self, ChangedInput, PackedBuffer, PartOfRank, ProductBuffer, QuantizedInput};
use super::rope;
use crate::device::{BufferId, BufferKind, Format};
use crate::models::spec::{InputChange, Norm, Product, Rope, Tensor};

/// The buffer of the sums of blocks that share the columns of a product.
pub const PARTIAL_PRODUCTS: &str = "partial_products";

/// Collects the buffers of a model, block by block.
pub(crate) struct Builder {
    /// The sizes that are fixed at start.
    pub limits: Limits,
    /// What is asked for so far.
    pub(super) memory: MemoryPlan,
    hidden: usize,
    /// In front of the names of what a block has for itself.
    prefix: String,
    ropes: Vec<(Rope, [BufferId; 2])>,
}

/// A norm, and where its result goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormBuffers {
    pub weights: NormWeights,
    /// `[rows, columns]`: a scratch buffer.
    pub normed: BufferId,
}

/// The kind of a norm, with its weights.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NormWeights {
    LayerNorm1p {
        weight: BufferId,
        bias: BufferId,
        eps: f32,
    },
    Rms {
        weight: BufferId,
        eps: f32,
        roundings: u32,
    },
    /// Behind a state space model, in place: rows of `columns` elements, whose gates are the first of rows of `stride`.
    Gated {
        weight: BufferId,
        eps: f32,
        gate: BufferId,
        stride: u32,
        columns: u32,
        groups: u32,
    },
}

impl Builder {
    pub(super) fn new(limits: Limits, hidden: usize) -> Builder {
        Builder { limits, memory: MemoryPlan::default(), hidden, prefix: String::new(), ropes: Vec::new() }
    }

    /// From here on, names belong to block `index`.
    pub(super) fn begin_block(&mut self, index: usize) {
        self.prefix = format!("{BLOCK_PREFIX}{index}.");
    }

    pub(super) fn end_blocks(&mut self) {
        self.prefix.clear();
    }

    /// A buffer that is undefined at the start of every step; blocks share it by name, and it has the size of the largest wish.
    pub fn scratch(&mut self, name: &str, element: Element, elements: usize) -> BufferId {
        self.memory.share(name, element, elements as u64, BufferKind::Scratch)
    }

    /// Zeros to count in, which whoever counts leaves as zeros; shared as [`Builder::scratch`] is.
    pub fn counters(&mut self, name: &str, elements: usize) -> BufferId {
        self.memory.share(name, Element::I32, elements as u64, BufferKind::Counters)
    }

    /// Integers that the host writes in front of a run.
    pub fn input(&mut self, name: &str, elements: usize) -> BufferId {
        self.memory.add(name.to_owned(), Element::I32, elements as u64, Content::Empty(BufferKind::Input))
    }

    /// Keys or values of this block: `row` elements of every token of every page.
    pub fn pool(&mut self, name: &str, format: KvFormat, row: usize) -> BufferId {
        let elements = self.limits.pages * PAGE_TOKENS as usize * row;
        let name = format!("{}{name}", self.prefix);
        self.memory.add(name, format.element(), elements as u64, Content::Empty(BufferKind::State))
    }

    /// What is kept from step to step for each sequence slot, `elements` of them; zero at the start of the program, not of a
    /// sequence. `scrap` asks for one more slot, which pads may write.
    pub fn slots(&mut self, name: &str, element: Element, elements: usize, scrap: bool) -> BufferId {
        let elements = (self.limits.scrap_slot() + usize::from(scrap)) * elements;
        let name = format!("{}{name}", self.prefix);
        self.memory.add(name, element, elements as u64, Content::Empty(BufferKind::Slots))
    }

    /// Cosines and sines of every position, `[context, dims/2]` each; blocks with the same rotary embedding share them.
    pub fn rope(&mut self, rope: &Rope) -> [BufferId; 2] {
        if let Some((_, tables)) = self.ropes.iter().find(|(known, _)| known == rope) {
            return *tables;
        }
        let (number, context) = (self.ropes.len(), self.limits.context);
        // Also where nothing is rotated the kernels have a table, which they do not read.
        let elements = (context * rope.dims / 2).max(1) as u64;
        let functions = [("cos", f64::cos as fn(f64) -> f64), ("sin", f64::sin)];
        let tables = functions.map(|(name, function)| {
            let wanted = rope.clone();
            let table =
                Box::new(move || if wanted.dims == 0 { vec![0.0] } else { rope::table(&wanted, context, function) });
            self.memory.add(format!("rope.{number}.{name}"), Element::Act, elements, Content::Table(table))
        });
        self.ropes.push((rope.clone(), tables));
        tables
    }

    /// A norm over rows of the residual stream.
    pub fn norm(&mut self, norm: &Norm) -> NormBuffers {
        let weights = match norm {
            Norm::LayerNorm1p { weight, bias, eps } => {
                NormWeights::LayerNorm1p { weight: self.tensor(weight), bias: self.tensor(bias), eps: *eps }
            }
            Norm::Rms { weight, eps, rounds_once } => {
                let roundings = if *rounds_once { rms_norm::ONCE } else { rms_norm::TWICE };
                NormWeights::Rms { weight: self.tensor(weight), eps: *eps, roundings }
            }
        };
        let rows = self.limits.rows.max(self.limits.logit_rows());
        NormBuffers { weights, normed: self.scratch("normed", Element::Act, rows * self.hidden) }
    }

    /// The weight of a product, and its bias. Where each rank has some of the columns, the ranks meet behind it.
    pub fn product(&mut self, name: &str, product: &Product) -> ProductBuffer {
        if product.is_partial() { self.product_of_part(name, product) } else { self.partial_product(name, product) }
    }

    /// A product whose input is a part of a sum on each rank: the ranks meet behind it.
    pub fn product_of_part(&mut self, name: &str, product: &Product) -> ProductBuffer {
        let rows = self.limits.rows.max(self.limits.logit_rows());
        let part = Some(self.part_of_rank(rows, product.rows()));
        ProductBuffer { part_of_rank: part, ..self.partial_product(name, product) }
    }

    fn part_of_rank(&mut self, rows: usize, n: usize) -> PartOfRank {
        let few = self.scratch("part_of_rank", Element::F32, rows.min(GEMV_MAX_ROWS as usize) * n);
        PartOfRank { few, many: self.scratch("rounded_part_of_rank", Element::Act, rows * n) }
    }

    /// As [`Builder::product`], but the ranks do not meet: the results stay parts of sums.
    pub fn partial_product(&mut self, name: &str, product: &Product) -> ProductBuffer {
        self.product_by(name, product, 1)
    }

    /// The weights of `experts` experts; packed ones are widened whole.
    pub fn experts(&mut self, name: &str, product: &Product, experts: usize) -> ProductBuffer {
        self.product_by(name, product, product.rows() / experts)
    }

    /// A product whose packed rows are widened `unit` at a time, or some times as many.
    fn product_by(&mut self, name: &str, product: &Product, unit: usize) -> ProductBuffer {
        let name = format!("{}{name}", self.prefix);
        let (n, k) = (product.rows(), product.columns());
        let biases = (!product.biases.is_empty()).then(|| product.biases.clone());
        let (weight, packed) = match product.format() {
            Format::Bf16 => (self.memory.add_weight(name.clone(), Content::Matrices(product.parts.clone())), None),
            format => {
                let (codes, scales) = self.codes(&name, &product.parts);
                let rows = (product_buffers::panel_rows(self.limits.panel, [n, k]) / unit).max(1) * unit;
                let panel = self.scratch("panel", Element::Act, rows * k);
                (codes, Some(PackedBuffer { format, scales, panel, rows }))
            }
        };
        let in_part = packed.is_some_and(|packed| packed.rows < n && unit == 1 && !QuantGemv::takes(packed.format));
        let few = product_buffers::takes_gemv(&self.limits, [self.limits.rows as u32, n as u32, k as u32]);
        if self.limits.gemms && (in_part || !few) {
            self.memory.expect_gemms();
        }
        let input = self.changed_input(&name, product);
        let quantized = product.input.quantized.then(|| self.quantized_input(k));
        let sums = product_buffers::partials(&self.limits, [n, k], product.format());
        let partial = (sums > 0).then(|| self.scratch(PARTIAL_PRODUCTS, Element::F32, sums));
        let bias = biases.map(|biases| self.memory.add_weight(format!("{name}.bias"), Content::Vectors(biases)));
        ProductBuffer { weight, packed, input, quantized, bias, partial, part_of_rank: None, n, k }
    }

    /// The codes of packed matrices, and the scales that stand beside them.
    pub(super) fn codes(&mut self, name: &str, parts: &[Tensor]) -> (BufferId, Option<BufferId>) {
        let [columns, rows] = [parts[0].matrix_shape()[1], parts.iter().map(|part| part.matrix_shape()[0]).sum()];
        let (format, columns, rows) = (parts[0].format, columns as u64, rows as u64);
        assert!(parts.iter().all(|part| part.format == format), "`{name}` has one format");
        let bytes = rows * format.row_bytes(columns);
        let codes = self.memory.add(name.to_owned(), Element::Packed, bytes, Content::Matrices(parts.to_vec()));
        let scales = (format.scales(columns) > 0).then(|| {
            let content = Content::Beside(Beside::Scales, parts.to_vec());
            self.memory.add(format!("{name}.scales"), Element::F32, rows * format.scales(columns), content)
        });
        (codes, scales)
    }

    /// What puts the input of packed matrices into their order, or multiplies it.
    fn changed_input(&mut self, name: &str, product: &Product) -> Option<ChangedInput> {
        let InputChange { ordered, factored, .. } = product.input;
        let k = product.columns();
        let mut beside = |wanted: bool, word: &str, element, beside| {
            let content = Content::Beside(beside, product.parts[..1].to_vec());
            wanted.then(|| self.memory.add(format!("{name}.{word}"), element, k as u64, content))
        };
        let order = beside(ordered, "order", Element::I32, Beside::Order);
        let factors = beside(factored, "factors", Element::F32, Beside::Factors);
        let rows = self.limits.rows.max(self.limits.logit_rows());
        (ordered || factored).then(|| {
            let changed = self.scratch("changed", Element::Act, rows * k);
            ChangedInput { order, factors, changed }
        })
    }

    /// What many rows of an input of `k` columns are quantized to.
    fn quantized_input(&mut self, k: usize) -> QuantizedInput {
        self.memory.expect_fp8_gemms();
        let rows = self.limits.rows.max(self.limits.logit_rows());
        let codes = self.scratch("quantized_rows", Element::Packed, rows * k);
        QuantizedInput { codes, scales: self.scratch("scales_of_rows", Element::F32, rows) }
    }

    /// A vector as a column, `[elements, 1]`.
    pub fn column(&mut self, vector: &Tensor) -> BufferId {
        self.memory.add_weight(vector.name.clone(), Content::Vectors(vec![vector.clone()]))
    }

    /// A tensor by itself: bf16, or f32 where it is exact.
    pub fn tensor(&mut self, tensor: &Tensor) -> BufferId {
        self.memory.add_weight(tensor.name.clone(), Content::Matrices(vec![tensor.clone()]))
    }
}
