//! `shard`: a model as each of several ranks has it, and what a number of ranks cannot cut.
//!
//! All ranks have shares of one shape, so that one layout and one plan serve them all: only their weights differ. Attention is cut
//! by heads, a feed-forward and each expert by its inner width, a Mamba mixer by groups, the embedding by columns and the head by
//! rows.
use gpu_kernels::Format;

use super::spec::{
    Activation, Attention, Block, Cut, CutDimension, Mamba2, Mlp, ModelSpec, Moe, Product, Segment, Tensor,
};
use crate::error::{Category, Error, Result};

/// Elements that kernels read together: what a product's columns are divisible by.
const STEP: usize = 8;

/// What rows and columns of products with FP8 inputs are divisible by.
const FP8_STEP: usize = 16;

/// Most ranks that an error names.
const MOST_NAMED: usize = 64;

/// What the inner width of experts is divisible by.
const EXPERT_STEP: usize = 16;

impl ModelSpec {
    /// The model as each of `ranks` ranks has it, and notes on what every rank has whole. Norms, routers, projections to and from
    /// latent experts and single products in place of a block are whole on every rank.
    ///
    /// # Errors
    /// A width does not divide by so many ranks, or not between the groups of columns that share a scale; which numbers fit the
    /// model is said.
    pub fn shard(&self, ranks: usize) -> Result<(ModelSpec, Vec<String>)> {
        self.cut(ranks).map_err(|(index, Fault { what, size })| {
            let fits = (1..=MOST_NAMED).filter(|ranks| self.cut(*ranks).is_ok());
            let fits = fits.map(|ranks| ranks.to_string()).collect::<Vec<_>>().join(", ");
            Error::new(Category::Model, "The model cannot be cut into so many ranks")
                .details(format_args!("block {index}: {what}: {size}, for {ranks} ranks; the model goes into {fits}"))
                .hint("choose another number of --tensor-parallel or --devices")
        })
    }

    /// As [`ModelSpec::shard`]; or the block that can not be cut, and why.
    fn cut(&self, ranks: usize) -> std::result::Result<(ModelSpec, Vec<String>), (usize, Fault)> {
        let (mut spec, mut notes) = (self.clone(), Vec::new());
        if ranks <= 1 {
            return Ok((spec, notes));
        }
        let shard = Shard { ranks };
        for (index, block) in spec.blocks.iter_mut().enumerate() {
            shard.block(block).and_then(|()| check_inputs(block)).map_err(|fault| (index, fault))?;
        }
        if spec.hidden.is_multiple_of(STEP * ranks) && !spec.embedding.format.is_packed() {
            shard.columns(&mut spec.embedding, Segment::even(spec.hidden, ranks));
        } else {
            notes.push(format!("the embedding is whole on each of {ranks} ranks"));
        }
        if spec.vocab.is_multiple_of(ranks) {
            shard.rows(&mut spec.head, &[&[Segment::even(spec.vocab, ranks)]]);
        } else {
            notes.push(format!("the head is whole on each of {ranks} ranks, which do not divide {} rows", spec.vocab));
        }
        if let Some(index) = spec.blocks.iter().position(|block| matches!(block, Block::Linear(_))) {
            notes.push(format!("block {index} and others of a single product are whole on each of {ranks} ranks"));
        }
        Ok((spec, notes))
    }
}

/// What came of a cut.
type Cutting<T> = std::result::Result<T, Fault>;

/// What cannot be cut.
struct Fault {
    what: &'static str,
    size: usize,
}

/// A number of ranks.
#[derive(Clone, Copy)]
struct Shard {
    ranks: usize,
}

impl Shard {
    fn block(self, block: &mut Block) -> Cutting<()> {
        match block {
            Block::Attention(attention) => self.attention(attention),
            Block::Mlp(mlp) => self.mlp(mlp),
            Block::Mamba2(mamba) => self.mamba(mamba),
            Block::Moe(moe) => self.moe(moe),
            Block::Linear(_) => Ok(()),
        }
    }

    /// By heads; each head of keys and values stands on as many ranks as it has to.
    fn attention(self, block: &mut Attention) -> Cutting<()> {
        let Attention { heads, kv_heads, head_dim, .. } = *block;
        let inner = heads * head_dim;
        check("query heads", heads, heads.is_multiple_of(self.ranks))?;
        let divides = kv_heads.is_multiple_of(self.ranks) || self.ranks.is_multiple_of(kv_heads);
        check("heads of keys and values", kv_heads, divides)?;
        self.between_groups("columns of the output", &block.out)?;
        let of_rank = (kv_heads / self.ranks).max(1);
        let copies = (self.ranks / kv_heads).max(1);
        let kv = Segment { size: kv_heads * head_dim, step: of_rank * head_dim, copies, width: of_rank * head_dim };
        self.rows(&mut block.qkv, &[&[Segment::even(inner, self.ranks)], &[kv], &[kv]]);
        self.inputs(&mut block.out, Segment::even(inner, self.ranks));
        (block.heads, block.kv_heads) = (heads / self.ranks, of_rank);
        Ok(())
    }

    fn mlp(self, block: &mut Mlp) -> Cutting<()> {
        let width = self.inner("inner width", block.intermediate, &block.down, STEP)?;
        let segments: &[&[Segment]] = match block.activation {
            Activation::Relu2 => &[&[width]],
            Activation::SwiGlu => &[&[width], &[width]],
        };
        self.rows(&mut block.up, segments);
        self.inputs(&mut block.down, width);
        block.intermediate = width.width;
        Ok(())
    }

    /// By groups of heads. The rows of the first product are filled up to what kernels read together.
    fn mamba(self, block: &mut Mamba2) -> Cutting<()> {
        let Mamba2 { heads, head_dim, groups, state_size, .. } = *block;
        let inner = heads * head_dim;
        check("groups of the mixer", groups, groups.is_multiple_of(self.ranks))?;
        self.between_groups("columns of the mixer's output", &block.out_proj)?;
        let even = |size| Segment::even(size, self.ranks);
        let [x, shared, dt] = [inner, groups * state_size, heads].map(even);
        let rows: usize = [x, x, shared, shared, dt].iter().map(|segment| segment.width).sum();
        let dt = Segment { width: dt.width + rows.next_multiple_of(STEP) - rows, ..dt };
        self.rows(&mut block.in_proj, &[&[x, x, shared, shared, dt]]);
        self.cut(&mut block.conv_weight, CutDimension::Rows, &[x, shared, shared]);
        self.cut(&mut block.conv_bias, CutDimension::Columns, &[x, shared, shared]);
        for vector in [&mut block.a_log, &mut block.d, &mut block.dt_bias] {
            self.cut(vector, CutDimension::Columns, &[even(heads)]);
        }
        self.cut(&mut block.gate_norm, CutDimension::Columns, &[x]);
        self.inputs(&mut block.out_proj, x);
        (block.heads, block.groups) = (heads / self.ranks, groups / self.ranks);
        Ok(())
    }

    /// Each expert by its inner width, the shared one too.
    fn moe(self, block: &mut Moe) -> Cutting<()> {
        let width = self.inner("inner width of experts", block.intermediate, &block.down, EXPERT_STEP)?;
        for part in &mut block.up.parts {
            self.cut(part, CutDimension::Rows, &[width]);
        }
        self.inputs(&mut block.down, width);
        block.intermediate = width.width;
        if let Some(shared) = &mut block.shared {
            let width = self.inner("inner width of the shared expert", shared.width, &shared.down, STEP)?;
            self.rows(&mut shared.up, &[&[width]]);
            self.inputs(&mut shared.down, width);
            shared.width = width.width;
        }
        Ok(())
    }

    /// Pieces of `size`, the columns of `product`, between the groups of these and in steps of `step`; the last is filled up with
    /// zeros, which no activation makes anything of.
    fn inner(self, what: &'static str, size: usize, product: &Product, step: usize) -> Cutting<Segment> {
        check(ORDERED, size, !product.input.ordered)?;
        let width = size.div_ceil(self.ranks).next_multiple_of(column_unit(product).next_multiple_of(step));
        check(what, size, size > (self.ranks - 1) * width)?;
        Ok(Segment { size, step: width, copies: 1, width })
    }

    /// Whether equal pieces of the columns of `product` begin between two groups of these.
    fn between_groups(self, what: &'static str, product: &Product) -> Cutting<()> {
        let columns = product.columns();
        check(ORDERED, columns, !product.input.ordered)?;
        let piece = columns / self.ranks;
        check(what, columns, columns.is_multiple_of(self.ranks) && piece.is_multiple_of(column_unit(product)))
    }

    /// A product whose result is cut: the segments of each of its matrices.
    fn rows(self, product: &mut Product, segments: &[&[Segment]]) {
        for (part, segments) in product.parts.iter_mut().zip(segments) {
            self.cut(part, CutDimension::Rows, segments);
        }
        for (bias, segments) in product.biases.iter_mut().zip(segments) {
            self.cut(bias, CutDimension::Columns, segments);
        }
    }

    /// A product whose input is cut, so that its results are parts of sums; its biases are added to these.
    fn inputs(self, product: &mut Product, segment: Segment) {
        product.parts.iter_mut().for_each(|part| self.columns(part, segment));
    }

    fn columns(self, tensor: &mut Tensor, segment: Segment) {
        self.cut(tensor, CutDimension::Columns, &[segment]);
    }

    fn cut(self, tensor: &mut Tensor, dimension: CutDimension, segments: &[Segment]) {
        let whole = tensor.shape.clone();
        let cut = Cut { whole, ranks: self.ranks, dimension, segments: segments.to_vec() };
        let place = match dimension {
            CutDimension::Rows => 0,
            CutDimension::Columns => tensor.shape.len() - 1,
        };
        debug_assert_eq!(tensor.shape[place], segments.iter().map(|segment| segment.size).sum::<usize>());
        tensor.shape[place] = cut.width();
        tensor.cut = Some(Box::new(cut));
    }
}

/// An order of columns scatters those of a rank over all groups.
const ORDERED: &str = "columns in act order, of whose groups each rank would need all";

fn check(what: &'static str, size: usize, divides: bool) -> Cutting<()> {
    if divides { Ok(()) } else { Err(Fault { what, size }) }
}

/// Columns between which a product can be cut: those of its groups.
fn column_unit(product: &Product) -> usize {
    match product.format() {
        Format::Bf16 | Format::F32 | Format::I32 => STEP,
        format => (format.group() as usize).max(STEP),
    }
}

/// Products whose inputs become FP8 keep the widths that these need.
fn check_inputs(block: &mut Block) -> Cutting<()> {
    let odd = |product: &&mut Product| {
        product.input.quantized && [product.rows(), product.columns()].iter().any(|size| size % FP8_STEP != 0)
    };
    match block.products_mut().into_iter().find(odd) {
        None => Ok(()),
        Some(product) => {
            let what = "rows or columns of a product with FP8 inputs, which are to be divisible by 16";
            Err(Fault { what, size: product.rows().min(product.columns()) })
        }
    }
}

#[cfg(test)]
mod tests;
