//! Attention with grouped queries: KV pools, rotation, and the two attention kernels.
use gpu_kernels::{Act, AttnDecode, AttnPrefill, Element, KvFormat, Ptr, RopeKvAppend};

use super::{Kind, PlacedBlock};
use crate::device::{BufferId, Output};
use crate::forward::builder::{Builder, NormBuffers};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::Multiply;
use crate::models::spec::Attention;

struct PlacedAttention {
    norm: NormBuffers,
    qkv: ProductBuffer,
    out: ProductBuffer,
    cos: BufferId,
    sin: BufferId,
    k_pool: BufferId,
    v_pool: BufferId,
    scratch: Scratch,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    rotary_dims: u32,
    window: u32,
    kv: KvFormat,
    k_scale: f32,
    v_scale: f32,
}

struct Scratch {
    /// `[rows, (heads + 2·kv_heads)·head_dim]`.
    qkv: BufferId,
    /// `[rows, heads·head_dim]`.
    attended: BufferId,
    /// `[sequences, heads, splits, head_dim]`.
    partial: BufferId,
    /// `[sequences, heads, splits, 2]`.
    stats: BufferId,
    /// `[sequences, heads]`: how many splits of a sequence are done.
    counters: BufferId,
}

impl Kind for Attention {
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock> {
        let [cos, sin] = builder.rope(&self.rope);
        let (kv, [k_scale, v_scale]) = (self.cache.format, self.cache.scales());
        Box::new(PlacedAttention {
            norm: builder.norm(&self.norm),
            qkv: builder.product("qkv", &self.qkv),
            out: builder.product("out", &self.out),
            cos,
            sin,
            k_pool: builder.pool("k_pool", kv, self.kv_heads * self.head_dim),
            v_pool: builder.pool("v_pool", kv, self.kv_heads * self.head_dim),
            scratch: scratch(self, builder),
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.head_dim as u32,
            rotary_dims: self.rope.dims as u32,
            window: self.window.unwrap_or(0) as u32,
            kv,
            k_scale,
            v_scale,
        })
    }
}

fn scratch(block: &Attention, builder: &mut Builder) -> Scratch {
    let limits = builder.limits;
    let splits = limits.sequences * limits.splits() * block.heads;
    Scratch {
        qkv: builder.scratch("qkv", Element::Act, limits.rows * block.qkv.rows()),
        attended: builder.scratch("attended", Element::Act, limits.rows * block.heads * block.head_dim),
        partial: builder.scratch("partial", Element::F32, splits * block.head_dim),
        stats: builder.scratch("stats", Element::F32, splits * 2),
        counters: builder.counters("counters", limits.sequences * block.heads),
    }
}

impl PlacedBlock for PlacedAttention {
    fn steps(&self, pass: &mut Pass) {
        let (x, rows) = (pass.shared.x.ptr(), pass.rows());
        let qkv = Output::Act(self.scratch.qkv.ptr());
        pass.multiply(Multiply { norm: Some(&self.norm), ..Multiply::new(x, &self.qkv, qkv, rows) });
        if pass.bucket.is_decode() {
            self.attn_decode(pass, (self.cos.ptr(), self.sin.ptr()));
        } else {
            self.rope_kv_append(pass);
            self.attn_prefill(pass);
            if pass.bucket.splits > 0 {
                self.attn_decode(pass, (Ptr::NULL, Ptr::NULL));
            }
        }
        let out = Multiply::new(self.scratch.attended.ptr(), &self.out, Output::Act(x), rows);
        pass.multiply(Multiply { residual: x, ..out });
    }

    fn copy_slots(&self, _: &mut Pass) {}
}

impl PlacedAttention {
    fn rope_kv_append(&self, pass: &mut Pass) {
        pass.plan.launch(RopeKvAppend {
            qkv: self.scratch.qkv.ptr(),
            cos: self.cos.ptr(),
            sin: self.sin.ptr(),
            positions: pass.shared.inputs.positions.ptr(),
            slot_mapping: pass.shared.inputs.slot_mapping.ptr(),
            k_pool: self.k_pool.ptr(),
            v_pool: self.v_pool.ptr(),
            rows: pass.rows(),
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            rotary_dims: self.rotary_dims,
            kv: self.kv,
            k_scale: self.k_scale,
            v_scale: self.v_scale,
        });
    }

    fn attn_prefill(&self, pass: &mut Pass) {
        let inputs = &pass.shared.inputs;
        pass.plan.launch(AttnPrefill {
            q: self.scratch.qkv.ptr(),
            k_pool: self.k_pool.ptr(),
            v_pool: self.v_pool.ptr(),
            block_table: inputs.block_table.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            tile_sequence: inputs.tile_sequence.ptr(),
            tile_row: inputs.tile_row.ptr(),
            tile_rows: inputs.tile_rows.ptr(),
            out: self.scratch.attended.ptr(),
            tiles: pass.bucket.tiles as u32,
            q_stride: self.qkv.n as u32,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            pages_per_sequence: pass.shared.limits.pages_per_sequence() as u32,
            window: self.window,
            scale: self.scale(),
            kv: self.kv,
            k_scale: self.k_scale,
            v_scale: self.v_scale,
        });
    }

    fn attn_decode(&self, pass: &mut Pass, (cos, sin): (Ptr<Act>, Ptr<Act>)) {
        let (inputs, scratch) = (&pass.shared.inputs, &self.scratch);
        pass.plan.launch(AttnDecode {
            qkv: scratch.qkv.ptr(),
            cos,
            sin,
            k_pool: self.k_pool.ptr(),
            v_pool: self.v_pool.ptr(),
            block_table: inputs.block_table.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            partial: scratch.partial.ptr(),
            stats: scratch.stats.ptr(),
            counters: scratch.counters.ptr(),
            out: scratch.attended.ptr(),
            sequences: pass.bucket.sequences as u32,
            splits: pass.bucket.splits as u32,
            q_stride: self.qkv.n as u32,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            rotary_dims: self.rotary_dims,
            pages_per_sequence: pass.shared.limits.pages_per_sequence() as u32,
            window: self.window,
            scale: self.scale(),
            kv: self.kv,
            k_scale: self.k_scale,
            v_scale: self.v_scale,
        });
    }

    fn scale(&self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }
}
