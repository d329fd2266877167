//! A Mamba-2 mixer: two products, and between them convolution, state and gated norm.
use gpu_kernels::ssm::{CHUNK, Mixer, WINDOW};
use gpu_kernels::{Element, SsmConv, SsmCopy, SsmDecode, SsmScan};

use super::{Kind, PlacedBlock};
use crate::device::{BufferId, Output};
use crate::forward::builder::{Builder, NormBuffers, NormWeights};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::Multiply;
use crate::models::spec::Mamba2;

struct PlacedMamba2 {
    norm: NormBuffers,
    in_proj: ProductBuffer,
    conv_weight: BufferId,
    conv_bias: BufferId,
    a_log: BufferId,
    d: BufferId,
    dt_bias: BufferId,
    gate_norm: NormBuffers,
    out_proj: ProductBuffer,
    state: State,
    scratch: Scratch,
    mixer: Mixer,
    dt_min: f32,
}

/// What each sequence keeps in its slot: see [`gpu_kernels::ssm`].
struct State {
    state: BufferId,
    chunk: BufferId,
    ring_x: BufferId,
    ring_b: BufferId,
    ring_dt: BufferId,
    window: BufferId,
}

struct Scratch {
    /// `[rows, rows of in_proj]`: z, x, B, C, dt.
    zxbcdt: BufferId,
    /// `[rows, conv_dim]`: x, B, C behind the convolution.
    xbc: BufferId,
    /// `[rows, heads]`.
    dt: BufferId,
    /// `[rows, heads·head_dim]`.
    y: BufferId,
    /// `[sequences, groups]`: how many heads of a group are done.
    counters: BufferId,
}

impl Kind for Mamba2 {
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock> {
        let mixer = mixer(self);
        let scratch = scratch(self, &mixer, builder);
        Box::new(PlacedMamba2 {
            norm: builder.norm(&self.norm),
            in_proj: builder.product("in_proj", &self.in_proj),
            conv_weight: builder.tensor(&self.conv_weight),
            conv_bias: builder.column(&self.conv_bias),
            a_log: builder.tensor(&self.a_log),
            d: builder.tensor(&self.d),
            dt_bias: builder.tensor(&self.dt_bias),
            gate_norm: gate_norm(self, &scratch, builder),
            out_proj: builder.product("out_proj", &self.out_proj),
            state: state(&mixer, builder),
            scratch,
            mixer,
            dt_min: self.dt_min,
        })
    }
}

fn mixer(block: &Mamba2) -> Mixer {
    Mixer {
        heads: block.heads as u32,
        head_dim: block.head_dim as u32,
        groups: block.groups as u32,
        state_size: block.state_size as u32,
    }
}

fn state(mixer: &Mixer, builder: &mut Builder) -> State {
    let (heads, inner, shared) = (mixer.heads, mixer.inner(), mixer.shared());
    let mut slots =
        |name: &str, element: Element, elements: u32| builder.slots(name, element, elements as usize, false);
    State {
        state: slots("ssm.state", Element::F32, inner * mixer.state_size),
        chunk: slots("ssm.chunk", Element::I32, heads),
        ring_x: slots("ssm.ring_x", Element::Act, CHUNK * inner),
        ring_b: slots("ssm.ring_b", Element::Act, 2 * CHUNK * shared),
        ring_dt: slots("ssm.ring_dt", Element::F32, CHUNK * heads),
        window: slots("ssm.window", Element::Act, WINDOW * mixer.conv_dim()),
    }
}

fn scratch(block: &Mamba2, mixer: &Mixer, builder: &mut Builder) -> Scratch {
    let limits = builder.limits;
    let mut rows =
        |name: &str, element: Element, width: u32| builder.scratch(name, element, limits.rows * width as usize);
    Scratch {
        zxbcdt: rows("zxbcdt", Element::Act, block.in_proj.rows() as u32),
        xbc: rows("xbc", Element::Act, mixer.conv_dim()),
        dt: rows("dt", Element::F32, mixer.heads),
        y: rows("ssm.y", Element::Act, mixer.inner()),
        counters: builder.counters("ssm.counters", limits.sequences * mixer.groups as usize),
    }
}

/// The norm of y behind its gates, which are z.
fn gate_norm(block: &Mamba2, scratch: &Scratch, builder: &mut Builder) -> NormBuffers {
    let mixer = mixer(block);
    let weights = NormWeights::Gated {
        weight: builder.tensor(&block.gate_norm),
        eps: block.eps,
        gate: scratch.zxbcdt,
        stride: block.in_proj.rows() as u32,
        columns: mixer.inner(),
        groups: mixer.groups,
    };
    NormBuffers { weights, normed: scratch.y }
}

impl PlacedBlock for PlacedMamba2 {
    fn steps(&self, pass: &mut Pass) {
        let (x, rows) = (pass.shared.x.ptr(), pass.rows());
        let zxbcdt = Output::Act(self.scratch.zxbcdt.ptr());
        pass.multiply(Multiply { norm: Some(&self.norm), ..Multiply::new(x, &self.in_proj, zxbcdt, rows) });
        if !pass.bucket.is_decode() {
            self.conv(pass);
            self.scan(pass);
        }
        if pass.bucket.splits > 0 {
            self.decode(pass);
        }
        let out = Multiply::new(self.scratch.y.ptr(), &self.out_proj, Output::Act(x), rows);
        pass.multiply(Multiply { norm: Some(&self.gate_norm), residual: x, ..out });
    }

    fn copy_slots(&self, pass: &mut Pass) {
        let Mixer { heads, head_dim, groups, state_size } = self.mixer;
        let State { state, chunk, ring_x, ring_b, ring_dt, window } = &self.state;
        pass.plan.launch(SsmCopy {
            copies: pass.shared.inputs.copies.ptr(),
            state: state.ptr(),
            chunk: chunk.ptr(),
            ring_x: ring_x.ptr(),
            ring_b: ring_b.ptr(),
            ring_dt: ring_dt.ptr(),
            window: window.ptr(),
            heads,
            head_dim,
            groups,
            state_size,
        });
    }
}

impl PlacedMamba2 {
    fn conv(&self, pass: &mut Pass) {
        let (inputs, scratch) = (&pass.shared.inputs, &self.scratch);
        let Mixer { heads, head_dim, groups, state_size } = self.mixer;
        pass.plan.launch(SsmConv {
            zxbcdt: scratch.zxbcdt.ptr(),
            conv_weight: self.conv_weight.ptr(),
            conv_bias: self.conv_bias.ptr(),
            dt_bias: self.dt_bias.ptr(),
            window: self.state.window.ptr(),
            slots: inputs.slots.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            tile_sequence: inputs.tile_sequence.ptr(),
            tile_row: inputs.tile_row.ptr(),
            tile_rows: inputs.tile_rows.ptr(),
            xbc: scratch.xbc.ptr(),
            dt: scratch.dt.ptr(),
            tiles: pass.bucket.tiles as u32,
            stride: self.in_proj.n as u32,
            heads,
            head_dim,
            groups,
            state_size,
            dt_min: self.dt_min,
        });
    }

    fn scan(&self, pass: &mut Pass) {
        let (inputs, scratch, state) = (&pass.shared.inputs, &self.scratch, &self.state);
        let Mixer { heads, head_dim, groups, state_size } = self.mixer;
        pass.plan.launch(SsmScan {
            xbc: scratch.xbc.ptr(),
            dt: scratch.dt.ptr(),
            zxbcdt: scratch.zxbcdt.ptr(),
            a_log: self.a_log.ptr(),
            d: self.d.ptr(),
            slots: inputs.slots.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            tile_sequence: inputs.tile_sequence.ptr(),
            tile_row: inputs.tile_row.ptr(),
            tile_rows: inputs.tile_rows.ptr(),
            state: state.state.ptr(),
            chunk: state.chunk.ptr(),
            ring_x: state.ring_x.ptr(),
            ring_b: state.ring_b.ptr(),
            ring_dt: state.ring_dt.ptr(),
            window: state.window.ptr(),
            counters: scratch.counters.ptr(),
            y: scratch.y.ptr(),
            sequences: pass.bucket.prompts as u32,
            tiles: pass.bucket.tiles as u32,
            stride: self.in_proj.n as u32,
            heads,
            head_dim,
            groups,
            state_size,
        });
    }

    fn decode(&self, pass: &mut Pass) {
        let (inputs, scratch, state) = (&pass.shared.inputs, &self.scratch, &self.state);
        let Mixer { heads, head_dim, groups, state_size } = self.mixer;
        pass.plan.launch(SsmDecode {
            zxbcdt: scratch.zxbcdt.ptr(),
            conv_weight: self.conv_weight.ptr(),
            conv_bias: self.conv_bias.ptr(),
            a_log: self.a_log.ptr(),
            d: self.d.ptr(),
            dt_bias: self.dt_bias.ptr(),
            slots: inputs.slots.ptr(),
            row_start: inputs.row_start.ptr(),
            lengths: inputs.lengths.ptr(),
            state: state.state.ptr(),
            chunk: state.chunk.ptr(),
            ring_x: state.ring_x.ptr(),
            ring_b: state.ring_b.ptr(),
            ring_dt: state.ring_dt.ptr(),
            window: state.window.ptr(),
            y: scratch.y.ptr(),
            sequences: pass.bucket.sequences as u32,
            stride: self.in_proj.n as u32,
            heads,
            head_dim,
            groups,
            state_size,
            dt_min: self.dt_min,
        });
    }
}
