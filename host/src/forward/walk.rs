//! The walk: blocks in order become the steps of a plan.
use gpu_kernels::{
    Act, Advance, Argmax, AttnDecode, AttnPrefill, Embed, GatherRows, Gemv, HistoryAppend, LayerNorm1p, Penalize, Ptr,
    Relu2, RmsNorm, RopeKvAppend, Sample, Swiglu, Weight, gemv, rms_norm,
};

use super::layout::{AttentionBuffers, BlockBuffers, LinearBuffers, MlpBuffers, NormBuffers, ProductBuffer};
use super::{Bucket, Layout};
use crate::device::{Gemm, Output, Plan};
use crate::models::spec::Activation;
use crate::sample;

/// Longest row that is normalised on its way into a product: with a longer one beside its weights, a multiprocessor of
/// Hopper has room for one block instead of two.
const NORMED_COLUMNS: usize = 4480;

/// The plan of one pass over the model for steps of `bucket`.
pub fn plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut walk = Walk { layout, bucket, plan: Plan { decode: bucket.is_decode(), steps: Vec::new() } };
    if bucket.is_decode() {
        walk.advance();
    }
    if bucket.sampling {
        walk.history_append();
    }
    walk.embed();
    for block in &layout.blocks {
        match block {
            BlockBuffers::Attention(attention) => walk.attention(attention),
            BlockBuffers::Mlp(mlp) => walk.mlp(mlp),
            BlockBuffers::Linear(linear) => walk.linear(linear),
        }
    }
    if bucket.logit_rows > 0 {
        walk.head();
    }
    walk.plan
}

struct Walk<'a> {
    layout: &'a Layout,
    bucket: &'a Bucket,
    plan: Plan,
}

impl Walk<'_> {
    fn rows(&self) -> u32 {
        self.bucket.rows as u32
    }

    fn advance(&mut self) {
        let inputs = &self.layout.inputs;
        self.plan.launch(Advance {
            fresh: inputs.fresh.ptr(),
            positions: inputs.positions.ptr(),
            lengths: inputs.lengths.ptr(),
            sequences: self.bucket.sequences as u32,
        });
    }

    fn history_append(&mut self) {
        let inputs = &self.layout.inputs;
        self.plan.launch(HistoryAppend {
            ids: inputs.ids.ptr(),
            sampled: self.layout.sampled.ptr(),
            slots: inputs.row_slots.ptr(),
            positions: inputs.positions.ptr(),
            history: self.layout.history.ptr(),
            rows: self.rows(),
            context: self.layout.limits.context as u32,
        });
    }

    fn embed(&mut self) {
        self.plan.launch(Embed {
            ids: self.layout.inputs.ids.ptr(),
            sampled: self.layout.sampled.ptr(),
            table: self.layout.embedding.ptr(),
            out: self.layout.scratch.x.ptr(),
            rows: self.rows(),
            hidden: self.layout.hidden as u32,
            vocab: self.layout.vocab as u32,
        });
    }

    fn attention(&mut self, block: &AttentionBuffers) {
        let scratch = self.layout.scratch;
        let qkv = Output::Act(scratch.qkv.ptr());
        self.normed_product(&block.norm, scratch.x.ptr(), &block.qkv, qkv, self.rows());
        if self.bucket.is_decode() {
            self.attn_decode(block, (block.cos.ptr(), block.sin.ptr()));
        } else {
            self.rope_kv_append(block);
            self.attn_prefill(block);
            if self.bucket.splits > 0 {
                self.attn_decode(block, (Ptr::NULL, Ptr::NULL));
            }
        }
        self.residual_product(scratch.attended.ptr(), &block.out);
    }

    fn rope_kv_append(&mut self, block: &AttentionBuffers) {
        self.plan.launch(RopeKvAppend {
            qkv: self.layout.scratch.qkv.ptr(),
            cos: block.cos.ptr(),
            sin: block.sin.ptr(),
            positions: self.layout.inputs.positions.ptr(),
            slot_mapping: self.layout.inputs.slot_mapping.ptr(),
            k_pool: block.k_pool.ptr(),
            v_pool: block.v_pool.ptr(),
            rows: self.rows(),
            heads: block.heads as u32,
            kv_heads: block.kv_heads as u32,
            head_dim: block.head_dim as u32,
            rotary_dims: block.rotary_dims as u32,
        });
    }

    fn attn_prefill(&mut self, block: &AttentionBuffers) {
        let inputs = &self.layout.inputs;
        self.plan.launch(AttnPrefill {
            q: self.layout.scratch.qkv.ptr(),
            k_pool: block.k_pool.ptr(),
            v_pool: block.v_pool.ptr(),
            block_table: inputs.block_table.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            tile_sequence: inputs.tile_sequence.ptr(),
            tile_row: inputs.tile_row.ptr(),
            tile_rows: inputs.tile_rows.ptr(),
            out: self.layout.scratch.attended.ptr(),
            tiles: self.bucket.tiles as u32,
            q_stride: block.qkv.n as u32,
            heads: block.heads as u32,
            kv_heads: block.kv_heads as u32,
            head_dim: block.head_dim as u32,
            pages_per_sequence: self.layout.limits.pages_per_sequence() as u32,
            window: block.window as u32,
            scale: scale(block),
        });
    }

    fn attn_decode(&mut self, block: &AttentionBuffers, (cos, sin): (Ptr<Act>, Ptr<Act>)) {
        let (inputs, scratch) = (&self.layout.inputs, &self.layout.scratch);
        self.plan.launch(AttnDecode {
            qkv: scratch.qkv.ptr(),
            cos,
            sin,
            k_pool: block.k_pool.ptr(),
            v_pool: block.v_pool.ptr(),
            block_table: inputs.block_table.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            partial: scratch.partial.ptr(),
            stats: scratch.stats.ptr(),
            counters: self.layout.counters.ptr(),
            out: scratch.attended.ptr(),
            sequences: self.bucket.sequences as u32,
            splits: self.bucket.splits as u32,
            q_stride: block.qkv.n as u32,
            heads: block.heads as u32,
            kv_heads: block.kv_heads as u32,
            head_dim: block.head_dim as u32,
            rotary_dims: block.rotary_dims as u32,
            pages_per_sequence: self.layout.limits.pages_per_sequence() as u32,
            window: block.window as u32,
            scale: scale(block),
        });
    }

    fn mlp(&mut self, block: &MlpBuffers) {
        let scratch = self.layout.scratch;
        let (rows, width) = (self.rows(), block.intermediate as u32);
        let (x, up, gated) = (scratch.x.ptr(), scratch.up.ptr(), scratch.gated.ptr());
        let activated = if block.activation == Activation::SwiGlu { gated } else { up };
        if self.layout.limits.takes_gemv(shape(&block.up, rows)) {
            let gemv = self.behind_norm(&block.norm, x, &block.up, rows);
            let activation = if block.activation == Activation::SwiGlu { gemv::SWIGLU } else { gemv::RELU2 };
            self.plan.launch(Gemv { activation, y: activated, ..gemv });
        } else {
            self.normed_product(&block.norm, x, &block.up, Output::Act(up), rows);
            match block.activation {
                Activation::Relu2 => self.plan.launch(Relu2 { x: up, y: up, count: rows * width }),
                Activation::SwiGlu => self.plan.launch(Swiglu { gate_up: up, y: gated, rows, width }),
            }
        }
        self.residual_product(activated, &block.down);
    }

    fn linear(&mut self, block: &LinearBuffers) {
        let (scratch, rows) = (self.layout.scratch, self.rows());
        self.norm(&block.norm, scratch.x.ptr(), rows);
        self.residual_product(scratch.normed.ptr(), &block.product);
    }

    /// Only the rows that are asked for pass the last norm and the head. A decode bucket asks for every row in order.
    fn head(&mut self) {
        let scratch = self.layout.scratch;
        let rows = self.bucket.logit_rows as u32;
        let x = if self.bucket.is_decode() { scratch.x.ptr() } else { self.gather() };
        let logits = Output::F32(scratch.logits.ptr());
        self.normed_product(&self.layout.final_norm, x, &self.layout.head, logits, rows);
        self.choose(rows);
    }

    fn choose(&mut self, rows: u32) {
        let (inputs, layout) = (&self.layout.inputs, self.layout);
        let (logits, slots, sampled) = (layout.scratch.logits.ptr(), inputs.logit_slots.ptr(), layout.sampled.ptr());
        let vocab = layout.vocab as u32;
        let (shared, counters) = (layout.scratch.told.ptr(), layout.choosers.ptr());
        let best = Argmax { logits, slots, sampled, shared, counters, rows, vocab };
        if !self.bucket.sampling {
            return sample::greedy(&mut self.plan, best);
        }
        let (sampling, index, positions) = (inputs.sampling.ptr(), inputs.logit_index.ptr(), inputs.positions.ptr());
        let penalties = Penalize {
            logits,
            sampling,
            bias_ids: inputs.bias_ids.ptr(),
            bias_values: inputs.bias_values.ptr(),
            history: layout.history.ptr(),
            slots,
            index,
            positions,
            counts: layout.scratch.counts.ptr(),
            rows,
            vocab,
            context: layout.limits.context as u32,
        };
        let arrivals = layout.arrivals.ptr();
        let choice = Sample { logits, sampling, slots, index, positions, sampled, shared, arrivals, rows, vocab };
        sample::by_parameters(&mut self.plan, penalties, best, choice);
    }

    /// The rows of the residual stream that reach the head.
    fn gather(&mut self) -> Ptr<Act> {
        let (x, out) = (self.layout.scratch.x.ptr(), self.layout.scratch.head_x.ptr());
        let (rows, hidden) = (self.bucket.logit_rows as u32, self.layout.hidden as u32);
        self.plan.launch(GatherRows { x, index: self.layout.inputs.logit_index.ptr(), out, rows, hidden });
        out
    }

    fn norm(&mut self, norm: &NormBuffers, x: Ptr<Act>, rows: u32) {
        let (y, hidden) = (self.layout.scratch.normed.ptr(), self.layout.hidden as u32);
        match *norm {
            NormBuffers::LayerNorm1p { weight, bias, eps } => {
                let (weight, bias) = (weight.ptr(), bias.ptr());
                self.plan.launch(LayerNorm1p { x, weight, bias, y, rows, hidden, eps });
            }
            NormBuffers::Rms { weight, eps } => {
                let roundings = rms_norm::TWICE;
                self.plan.launch(RmsNorm { x, weight: weight.ptr(), y, rows, hidden, eps, roundings });
            }
        }
    }

    /// A product of normalised rows: one row is normalised on the way into it.
    fn normed_product(&mut self, norm: &NormBuffers, x: Ptr<Act>, product: &ProductBuffer, out: Output, rows: u32) {
        if self.layout.limits.takes_gemv(shape(product, rows)) {
            let gemv = self.behind_norm(norm, x, product, rows);
            return self.plan.launch(to(gemv, out));
        }
        self.norm(norm, x, rows);
        self.plan.gemm(gemm(self.layout.scratch.normed.ptr(), product, out, rows));
    }

    /// The product of normalised rows, whose output is yet to be named.
    fn behind_norm(&mut self, norm: &NormBuffers, x: Ptr<Act>, product: &ProductBuffer, rows: u32) -> Gemv {
        if rows > 1 || product.k > NORMED_COLUMNS {
            self.norm(norm, x, rows);
            return gemv(self.layout.scratch.normed.ptr(), product, rows);
        }
        let gemv = gemv(x, product, rows);
        match *norm {
            NormBuffers::LayerNorm1p { weight, bias, eps } => {
                Gemv { norm_weight: weight.ptr(), norm_bias: bias.ptr(), eps, ..gemv }
            }
            NormBuffers::Rms { weight, eps } => Gemv { norm_weight: weight.ptr(), eps, ..gemv },
        }
    }

    /// A block's last product, added to the residual stream.
    fn residual_product(&mut self, input: Ptr<Act>, product: &ProductBuffer) {
        let (x, rows) = (self.layout.scratch.x.ptr(), self.rows());
        if self.layout.limits.takes_gemv(shape(product, rows)) {
            self.plan.launch(Gemv { residual: x, y: x, ..gemv(input, product, rows) });
        } else {
            self.plan.gemm(Gemm { residual: x, ..gemm(input, product, Output::Act(x), rows) });
        }
    }
}

fn gemv(x: Ptr<Act>, product: &ProductBuffer, rows: u32) -> Gemv {
    Gemv { bias: bias(product), ..Gemv::new(x, product.weight.ptr(), shape(product, rows)) }
}

fn gemm(x: Ptr<Act>, product: &ProductBuffer, out: Output, rows: u32) -> Gemm {
    Gemm { bias: bias(product), ..Gemm::new(x, product.weight.ptr(), out, shape(product, rows)) }
}

fn shape(product: &ProductBuffer, rows: u32) -> [u32; 3] {
    [rows, product.n as u32, product.k as u32]
}

fn to(gemv: Gemv, out: Output) -> Gemv {
    match out {
        Output::Act(y) => Gemv { y, ..gemv },
        Output::F32(y_f32) => Gemv { y_f32, ..gemv },
    }
}

fn bias(product: &ProductBuffer) -> Ptr<Weight> {
    product.bias.map_or(Ptr::NULL, |bias| bias.ptr())
}

fn scale(block: &AttentionBuffers) -> f32 {
    (block.head_dim as f32).sqrt().recip()
}
