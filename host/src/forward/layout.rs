//! `Layout`: every buffer of a model, named and sized once for all plans.
use gpu_kernels::sample::{TEAMS, TOLD_WORDS};
use gpu_kernels::{Element, PAGE_TOKENS, sampling};

use super::{Limits, StepInputs, WeightSource, rope};
use crate::device::{BufferId, BufferKind, Buffers, Inputs, WeightParts};
use crate::error::Result;
use crate::models::spec::{Activation, Attention, Block, Mlp, ModelSpec, Norm, Product, Rope, Tensor};
use crate::sample::{MAX_BIASES, MAX_PHRASE_WORDS};

/// Numbers of a model's buffers, with the sizes that plans need.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) limits: Limits,
    pub(super) hidden: usize,
    pub(super) vocab: usize,
    pub(super) inputs: InputBuffers,
    pub(super) scratch: ScratchBuffers,
    /// `[2, sequences + 1]`: the token last chosen for each slot, and the fault of its logits.
    pub(super) sampled: BufferId,
    /// `[sequences + 1, context]`: the tokens of each slot, where one samples.
    pub(super) history: BufferId,
    /// `[sequences, kv_heads]`: how many splits of a sequence are done.
    pub(super) counters: BufferId,
    pub(super) choosers: BufferId,
    pub(super) arrivals: BufferId,
    pub(super) embedding: BufferId,
    pub(super) blocks: Vec<BlockBuffers>,
    pub(super) final_norm: NormBuffers,
    pub(super) head: ProductBuffer,
}

/// The device inputs, named as in [`StepInputs`].
#[derive(Clone, Copy, Debug)]
pub(super) struct InputBuffers {
    pub ids: BufferId,
    pub positions: BufferId,
    pub slot_mapping: BufferId,
    pub row_start: BufferId,
    pub lengths: BufferId,
    pub block_table: BufferId,
    pub tile_sequence: BufferId,
    pub tile_row: BufferId,
    pub tile_rows: BufferId,
    pub logit_index: BufferId,
    pub logit_slots: BufferId,
    pub row_slots: BufferId,
    pub sampling: BufferId,
    pub fresh: BufferId,
    pub bias_ids: BufferId,
    pub bias_values: BufferId,
    pub bias_until: BufferId,
    pub phrases: BufferId,
}

/// What lives within a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScratchBuffers {
    /// `[rows, hidden]`: the residual stream.
    pub x: BufferId,
    /// `[rows, hidden]`: a norm's output.
    pub normed: BufferId,
    /// `[rows, (heads + 2·kv_heads)·head_dim]`.
    pub qkv: BufferId,
    /// `[rows, heads·head_dim]`.
    pub attended: BufferId,
    /// `[sequences, heads, splits, head_dim]`.
    pub partial: BufferId,
    /// `[sequences, heads, splits, 2]`.
    pub stats: BufferId,
    /// `[rows, intermediate]`, or gate and up.
    pub up: BufferId,
    /// `[rows, intermediate]`: the gated product.
    pub gated: BufferId,
    /// `[logit_rows, hidden]`: the rows of `x` that reach the head.
    pub head_x: BufferId,
    /// `[logit_rows, vocab]`.
    pub logits: BufferId,
    /// `[logit_rows, vocab]`: how often each token was generated, where that counts.
    pub counts: BufferId,
    /// What the blocks that choose a token tell each other.
    pub told: BufferId,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ProductBuffer {
    pub weight: BufferId,
    pub bias: Option<BufferId>,
    pub n: usize,
    pub k: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum NormBuffers {
    LayerNorm1p { weight: BufferId, bias: BufferId, eps: f32 },
    Rms { weight: BufferId, eps: f32 },
}

#[derive(Clone, Debug)]
pub(super) enum BlockBuffers {
    Attention(AttentionBuffers),
    Mlp(MlpBuffers),
    Linear(LinearBuffers),
}

#[derive(Clone, Debug)]
pub(super) struct AttentionBuffers {
    pub norm: NormBuffers,
    pub qkv: ProductBuffer,
    pub out: ProductBuffer,
    pub cos: BufferId,
    pub sin: BufferId,
    pub k_pool: BufferId,
    pub v_pool: BufferId,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub rotary_dims: usize,
    pub window: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MlpBuffers {
    pub norm: NormBuffers,
    pub up: ProductBuffer,
    pub down: ProductBuffer,
    pub intermediate: usize,
    pub activation: Activation,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LinearBuffers {
    pub norm: NormBuffers,
    pub product: ProductBuffer,
}

impl Layout {
    /// Names and sizes the buffers of `spec`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the model asks for.
    pub fn new(spec: &ModelSpec, limits: Limits, weights: WeightSource) -> Result<(Layout, Buffers)> {
        let mut builder = Builder { buffers: Buffers::default(), limits, weights, ropes: Vec::new() };
        let inputs = builder.inputs();
        let slots = limits.slots() as u64;
        let sampled = builder.buffers.add("sampled", Element::I32, 2 * slots, BufferKind::Sampled);
        let history = builder.buffers.add("history", Element::I32, slots * limits.context as u64, BufferKind::State);
        let width = Widths::of(spec);
        let counters = (limits.sequences * width.heads) as u64;
        let counters = builder.buffers.add("counters", Element::I32, counters, BufferKind::Counters);
        let mut teams = |name: &str| builder.buffers.add(name, Element::I32, TEAMS.into(), BufferKind::Counters);
        let (choosers, arrivals) = (teams("choosers"), teams("arrivals"));
        let scratch = builder.scratch(spec, &width);
        let embedding = builder.tensor(&spec.embedding)?;
        let blocks = spec.blocks.iter().enumerate().map(|(i, b)| builder.block(i, b)).collect::<Result<Vec<_>>>()?;
        let final_norm = builder.norm(&spec.final_norm)?;
        let head = builder.product("head", &spec.head)?;
        let (hidden, vocab) = (spec.hidden, spec.vocab);
        let layout = Layout {
            limits,
            hidden,
            vocab,
            inputs,
            scratch,
            sampled,
            history,
            counters,
            choosers,
            arrivals,
            embedding,
            blocks,
            final_norm,
            head,
        };
        Ok((layout, builder.buffers))
    }

    /// The sizes that the buffers were made for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The logits of the last step, `[logit_rows, vocab]`.
    pub fn logits(&self) -> gpu_kernels::Ptr<f32> {
        self.scratch.logits.ptr()
    }

    /// Columns of the logits.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Pairs each field of `inputs` with the device input of its name and passes them on.
    pub fn with_inputs<T>(&self, inputs: &StepInputs, run: impl FnOnce(&Inputs) -> T) -> T {
        let to = &self.inputs;
        let pairs = [
            (to.ids, &inputs.ids),
            (to.positions, &inputs.positions),
            (to.slot_mapping, &inputs.slot_mapping),
            (to.row_start, &inputs.row_start),
            (to.lengths, &inputs.lengths),
            (to.block_table, &inputs.block_table),
            (to.tile_sequence, &inputs.tile_sequence),
            (to.tile_row, &inputs.tile_row),
            (to.tile_rows, &inputs.tile_rows),
            (to.logit_index, &inputs.logit_index),
            (to.logit_slots, &inputs.logit_slots),
            (to.row_slots, &inputs.row_slots),
            (to.sampling, &inputs.choice.words),
            (to.bias_ids, &inputs.choice.bias_ids),
            (to.bias_values, &inputs.choice.bias_values),
            (to.bias_until, &inputs.choice.bias_until),
            (to.phrases, &inputs.choice.phrases),
            (to.fresh, &inputs.fresh),
        ];
        run(&pairs.map(|(buffer, values)| (buffer.ptr(), values.as_slice())))
    }
}

struct Builder<'a> {
    buffers: Buffers,
    limits: Limits,
    weights: WeightSource<'a>,
    ropes: Vec<(Rope, BufferId, BufferId)>,
}

impl Builder<'_> {
    fn inputs(&mut self) -> InputBuffers {
        let limits = self.limits;
        let tiles = limits.rows.div_ceil(gpu_kernels::TILE_ROWS as usize) + limits.sequences + 1;
        let mut input = |name: &str, count| self.buffers.add(name, Element::I32, count as u64, BufferKind::Input);
        InputBuffers {
            ids: input("ids", limits.rows),
            positions: input("positions", limits.rows),
            slot_mapping: input("slot_mapping", limits.rows),
            row_start: input("row_start", limits.sequences + 1),
            lengths: input("lengths", limits.sequences),
            block_table: input("block_table", limits.sequences * limits.pages_per_sequence()),
            tile_sequence: input("tile_sequence", tiles),
            tile_row: input("tile_row", tiles),
            tile_rows: input("tile_rows", tiles),
            logit_index: input("logit_index", limits.logit_rows()),
            logit_slots: input("logit_slots", limits.logit_rows()),
            row_slots: input("row_slots", limits.rows),
            sampling: input("sampling", limits.logit_rows() * sampling::WORDS as usize),
            fresh: input("fresh", 1),
            bias_ids: input("bias_ids", limits.sequences * MAX_BIASES),
            bias_values: input("bias_values", limits.sequences * MAX_BIASES),
            bias_until: input("bias_until", limits.sequences * MAX_BIASES),
            phrases: input("phrases", 1 + limits.sequences * MAX_PHRASE_WORDS),
        }
    }

    fn scratch(&mut self, spec: &ModelSpec, width: &Widths) -> ScratchBuffers {
        let limits = self.limits;
        let rows = limits.rows;
        let head_rows = limits.logit_rows();
        let splits = limits.sequences * limits.splits() * width.heads;
        let mut scratch =
            |name: &str, element, count| self.buffers.add(name, element, count as u64, BufferKind::Scratch);
        ScratchBuffers {
            x: scratch("x", Element::Act, rows * spec.hidden),
            normed: scratch("normed", Element::Act, rows.max(head_rows) * spec.hidden),
            qkv: scratch("qkv", Element::Act, rows * width.qkv),
            attended: scratch("attended", Element::Act, rows * width.attended),
            partial: scratch("partial", Element::F32, splits * width.head_dim),
            stats: scratch("stats", Element::F32, splits * 2),
            up: scratch("up", Element::Act, rows * width.up),
            gated: scratch("gated", Element::Act, rows * width.gated),
            head_x: scratch("head_x", Element::Act, head_rows * spec.hidden),
            logits: scratch("logits", Element::F32, head_rows * spec.vocab),
            counts: scratch("counts", Element::I32, head_rows * spec.vocab),
            told: scratch("told", Element::I32, (2 * TEAMS * TOLD_WORDS) as usize),
        }
    }

    fn block(&mut self, index: usize, block: &Block) -> Result<BlockBuffers> {
        Ok(match block {
            Block::Attention(attention) => BlockBuffers::Attention(self.attention(index, attention)?),
            Block::Mlp(mlp) => BlockBuffers::Mlp(self.mlp(index, mlp)?),
            Block::Linear(linear) => BlockBuffers::Linear(LinearBuffers {
                norm: self.norm(&linear.norm)?,
                product: self.product(&format!("blocks.{index}.linear"), &linear.product)?,
            }),
        })
    }

    fn attention(&mut self, index: usize, block: &Attention) -> Result<AttentionBuffers> {
        let elements = (self.limits.pages * PAGE_TOKENS as usize * block.kv_heads * block.head_dim) as u64;
        let (cos, sin) = self.rope(&block.rope);
        Ok(AttentionBuffers {
            norm: self.norm(&block.norm)?,
            qkv: self.product(&format!("blocks.{index}.qkv"), &block.qkv)?,
            out: self.product(&format!("blocks.{index}.out"), &block.out)?,
            cos,
            sin,
            k_pool: self.buffers.add(format!("blocks.{index}.k_pool"), Element::Kv, elements, BufferKind::State),
            v_pool: self.buffers.add(format!("blocks.{index}.v_pool"), Element::Kv, elements, BufferKind::State),
            heads: block.heads,
            kv_heads: block.kv_heads,
            head_dim: block.head_dim,
            rotary_dims: block.rope.dims,
            window: block.window.unwrap_or(0),
        })
    }

    fn mlp(&mut self, index: usize, block: &Mlp) -> Result<MlpBuffers> {
        Ok(MlpBuffers {
            norm: self.norm(&block.norm)?,
            up: self.product(&format!("blocks.{index}.up"), &block.up)?,
            down: self.product(&format!("blocks.{index}.down"), &block.down)?,
            intermediate: block.intermediate,
            activation: block.activation,
        })
    }

    /// Layers with the same rotary embedding share its tables.
    fn rope(&mut self, rope: &Rope) -> (BufferId, BufferId) {
        if let Some((_, cos, sin)) = self.ropes.iter().find(|(known, ..)| known == rope) {
            return (*cos, *sin);
        }
        let (cos, sin) = rope::tables(rope, self.limits.context);
        let number = self.ropes.len();
        let mut table = |name: &str, values: Vec<f32>| {
            let elements = values.len() as u64;
            self.buffers.add(format!("rope.{number}.{name}"), Element::Act, elements, BufferKind::Constant(values))
        };
        let (cos, sin) = (table("cos", cos), table("sin", sin));
        self.ropes.push((rope.clone(), cos, sin));
        (cos, sin)
    }

    fn norm(&mut self, norm: &Norm) -> Result<NormBuffers> {
        Ok(match norm {
            Norm::LayerNorm1p { weight, bias, eps } => {
                NormBuffers::LayerNorm1p { weight: self.tensor(weight)?, bias: self.tensor(bias)?, eps: *eps }
            }
            Norm::Rms { weight, eps } => NormBuffers::Rms { weight: self.tensor(weight)?, eps: *eps },
        })
    }

    fn product(&mut self, name: &str, product: &Product) -> Result<ProductBuffer> {
        let parts = (self.weights)(&product.parts)?;
        let weight = self.buffers.add_weight(name, parts);
        let bias = self.bias(name, &product.biases)?;
        Ok(ProductBuffer { weight, bias, n: product.rows(), k: product.columns() })
    }

    fn bias(&mut self, name: &str, vectors: &[Tensor]) -> Result<Option<BufferId>> {
        if vectors.is_empty() {
            return Ok(None);
        }
        let vectors = vectors.iter().map(|vector| (self.weights)(std::slice::from_ref(vector)));
        let column = WeightParts::column(&vectors.collect::<Result<Vec<_>>>()?);
        Ok(Some(self.buffers.add_weight(format!("{name}.bias"), column)))
    }

    fn tensor(&mut self, tensor: &Tensor) -> Result<BufferId> {
        let parts = (self.weights)(std::slice::from_ref(tensor))?;
        Ok(self.buffers.add_weight(tensor.name.as_str(), parts))
    }
}

/// The widest row of each scratch buffer over all blocks; buffers that no block needs have one element.
struct Widths {
    qkv: usize,
    attended: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    up: usize,
    gated: usize,
}

impl Widths {
    fn of(spec: &ModelSpec) -> Widths {
        let mut width = Widths { qkv: 1, attended: 1, heads: 1, kv_heads: 1, head_dim: 1, up: 1, gated: 1 };
        for block in &spec.blocks {
            match block {
                Block::Attention(attention) => {
                    width.qkv = width.qkv.max(attention.qkv.rows());
                    width.attended = width.attended.max(attention.heads * attention.head_dim);
                    width.heads = width.heads.max(attention.heads);
                    width.kv_heads = width.kv_heads.max(attention.kv_heads);
                    width.head_dim = width.head_dim.max(attention.head_dim);
                }
                Block::Mlp(mlp) => {
                    width.up = width.up.max(mlp.up.rows());
                    if mlp.activation == Activation::SwiGlu {
                        width.gated = width.gated.max(mlp.intermediate);
                    }
                }
                Block::Linear(_) => {}
            }
        }
        width
    }
}
