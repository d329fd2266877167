//! Experts: a router, the products of the experts that are chosen, a shared expert, and their sum.
use gpu_kernels::{Act, Element, GEMV_MAX_ROWS, MoeCombine, MoeRoute, Ptr, moe_route, moe_sort, rms_norm};

use self::experts::ExpertProducts;
use super::{Kind, PlacedBlock};
use crate::device::{AllReduce, BufferId, Output};
use crate::forward::builder::{Builder, NormBuffers, NormWeights};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::{Activated, Multiply, NORMED_COLUMNS, takes_norm};
use crate::models::spec::{Activation, Moe, Product, Router, SharedExpert};

mod experts;

struct PlacedMoe {
    norm: NormBuffers,
    router_weight: BufferId,
    router_bias: BufferId,
    up: ProductBuffer,
    down: ProductBuffer,
    latent: Option<[ProductBuffer; 2]>,
    shared: Option<Shared>,
    scratch: Scratch,
    /// The router's numbers.
    experts: u32,
    top_k: u32,
    groups: u32,
    top_groups: u32,
    normalize: bool,
    scale: f32,
    intermediate: u32,
    width: u32,
}

struct Shared {
    up: ProductBuffer,
    down: ProductBuffer,
    /// `[rows, width]`.
    activated: BufferId,
    /// `[rows, hidden]`.
    out: BufferId,
}

struct Scratch {
    /// `[rows, experts]`.
    logits: BufferId,
    /// `[⌈rows/8⌉]`.
    counters: BufferId,
    /// `[rows, top_k]`.
    ids: BufferId,
    /// `[rows, top_k]`.
    weights: BufferId,
    /// `[rows · top_k]`.
    order: BufferId,
    /// `[max_tiles, 4]`.
    tiles: BufferId,
    /// `[rows · top_k, intermediate]`.
    activated: BufferId,
    /// `[rows · top_k, width]`.
    out: BufferId,
    /// `[rows, width]`: this rank's part of the result, where each rank has some of every expert and those are not latent.
    part_of_rank: Option<BufferId>,
    /// `[rows, width]`: into the latent experts, and what they give.
    latent: BufferId,
    /// `[rows, hidden]`: out of the latent experts.
    widened: BufferId,
}

impl Kind for Moe {
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock> {
        let Router { experts, top_k, groups, top_groups, normalize, scale, .. } = self.router;
        Box::new(PlacedMoe {
            norm: builder.norm(&self.norm),
            router_weight: builder.tensor(&self.router.weight),
            router_bias: builder.tensor(&self.router.bias),
            up: builder.experts("experts.up", &self.up, experts),
            down: builder.experts("experts.down", &self.down, experts),
            latent: self.latent.as_ref().map(|latent| lay_out_latent(latent, self.down.is_partial(), builder)),
            shared: self.shared.as_ref().map(|shared| lay_out_shared(shared, builder)),
            scratch: scratch(self, builder),
            experts: experts as u32,
            top_k: top_k as u32,
            groups: groups as u32,
            top_groups: top_groups as u32,
            normalize,
            scale,
            intermediate: self.intermediate as u32,
            width: self.width as u32,
        })
    }
}

/// `out` is linear, so ranks that have parts of what the experts give meet behind it.
fn lay_out_latent([into, out]: &[Product; 2], in_parts: bool, builder: &mut Builder) -> [ProductBuffer; 2] {
    let into = builder.product("latent.into", into);
    let name = "latent.out";
    [into, if in_parts { builder.product_of_part(name, out) } else { builder.product(name, out) }]
}

fn lay_out_shared(shared: &SharedExpert, builder: &mut Builder) -> Shared {
    let rows = builder.limits.rows;
    Shared {
        up: builder.product("shared.up", &shared.up),
        // A part of a sum is added to that of the other experts before the ranks meet.
        down: builder.partial_product("shared.down", &shared.down),
        activated: builder.scratch("shared.activated", Element::Act, rows * shared.width),
        out: builder.scratch("shared.out", Element::Act, rows * shared.down.rows()),
    }
}

fn scratch(block: &Moe, builder: &mut Builder) -> Scratch {
    let (rows, router) = (builder.limits.rows, &block.router);
    let choices = rows * router.top_k;
    let tiles = moe_sort::max_tiles(choices as u32, router.experts as u32) as usize;
    let (latent, widened) = block.latent.as_ref().map_or((0, 0), |[into, out]| (rows * into.rows(), rows * out.rows()));
    let in_parts = block.down.is_partial();
    Scratch {
        logits: builder.scratch("moe.logits", Element::F32, rows * router.experts),
        counters: builder.counters("moe.counters", rows.div_ceil(moe_route::ROWS as usize)),
        ids: builder.scratch("moe.ids", Element::I32, choices),
        weights: builder.scratch("moe.weights", Element::F32, choices),
        order: builder.scratch("moe.order", Element::I32, choices),
        tiles: builder.scratch("moe.tiles", Element::I32, 4 * tiles),
        activated: builder.scratch("moe.activated", Element::Act, choices * block.intermediate),
        out: builder.scratch("moe.out", Element::Act, choices * block.width),
        part_of_rank: (in_parts && block.latent.is_none())
            .then(|| builder.scratch("moe.part_of_rank", Element::Act, rows * block.width)),
        latent: builder.scratch("moe.latent", Element::Act, latent.max(1)),
        // Where ranks meet behind `out`, that writes to the stream.
        widened: builder.scratch("moe.widened", Element::Act, if in_parts { 1 } else { widened.max(1) }),
    }
}

impl PlacedBlock for PlacedMoe {
    /// Of a few rows, what is not chosen runs beside what is: the first products beside the router, which is slow and needs few
    /// multiprocessors, and the shared expert's second one between the experts'. They read normalised rows, or normalise one.
    fn steps(&self, pass: &mut Pass) {
        let x = pass.shared.x.ptr();
        let input = self.route(pass, x);
        let into_experts = self.latent.as_ref().map_or(input.normed, |[into, _]| self.narrow(pass, &input, into));
        if let Some(shared) = &self.shared {
            shared.up(pass, &input);
        }
        let products = ExpertProducts::of(self, pass, into_experts);
        products.up(pass);
        // With more rows the shared expert's product waits for what is in front of it, so nothing but the sum is to wait for that.
        let runs_beside = pass.rows() <= GEMV_MAX_ROWS;
        if !runs_beside {
            products.down(pass);
        }
        let shared = self.shared.as_ref().map_or(Ptr::NULL, |shared| shared.down(pass, products.are_streamed()));
        if runs_beside {
            products.down(pass);
        }
        match &self.latent {
            None => self.sum(pass, shared, x),
            Some([_, out]) => self.widen(pass, shared, out, x),
        }
    }

    fn copy_slots(&self, _: &mut Pass) {}
}

/// What the block's products read.
struct Input<'a> {
    /// Rows that are older than the router, and what normalises them, if they are not normalised.
    x: Ptr<Act>,
    norm: Option<&'a NormBuffers>,
    /// The normalised rows, of which the router may be the last.
    normed: Ptr<Act>,
}

impl Shared {
    /// The activated rows.
    fn up(&self, pass: &mut Pass, input: &Input) {
        let (activated, rows) = (self.activated.ptr(), pass.rows());
        let activation = Some(Activated { by: Activation::Relu2, sums: activated });
        let plain = Multiply::new(input.x, &self.up, Output::Act(activated), rows);
        pass.multiply(Multiply { norm: input.norm, activation, x_settled: true, ..plain });
    }

    /// The shared expert's output.
    fn down(&self, pass: &mut Pass, x_settled: bool) -> Ptr<Act> {
        let (activated, out, rows) = (self.activated.ptr(), self.out.ptr(), pass.rows());
        pass.multiply(Multiply { x_settled, ..Multiply::new(activated, &self.down, Output::Act(out), rows) });
        out
    }
}

impl PlacedMoe {
    /// The latent experts' input.
    fn narrow(&self, pass: &mut Pass, input: &Input, into: &ProductBuffer) -> Ptr<Act> {
        let (latent, rows) = (self.scratch.latent.ptr(), pass.rows());
        let plain = Multiply::new(input.x, into, Output::Act(latent), rows);
        pass.multiply(Multiply { norm: input.norm, x_settled: true, ..plain });
        latent
    }

    /// Adds what all experts give to the stream.
    fn sum(&self, pass: &mut Pass, shared: Ptr<Act>, x: Ptr<Act>) {
        let Some(part) = self.scratch.part_of_rank else { return self.combine(pass, [shared, x, x]) };
        self.combine(pass, [shared, Ptr::NULL, part.ptr()]);
        let (part, rows, n) = (Output::Act(part.ptr()), pass.rows(), self.width);
        pass.plan.all_reduce(AllReduce { x: part, bias: Ptr::NULL, residual: x, y: x, rows, n });
    }

    /// The same of latent experts, whose sum goes through `out`.
    fn widen(&self, pass: &mut Pass, shared: Ptr<Act>, out: &ProductBuffer, x: Ptr<Act>) {
        let (latent, rows) = (self.scratch.latent.ptr(), pass.rows());
        self.combine(pass, [Ptr::NULL, Ptr::NULL, latent]);
        if out.part_of_rank.is_some() {
            let plain = Multiply::new(latent, out, Output::Act(x), rows);
            return pass.multiply(Multiply { residual: x, beside: shared, ..plain });
        }
        let widened = self.scratch.widened.ptr();
        pass.multiply(Multiply::new(latent, out, Output::Act(widened), rows));
        let (weights, top_k, n) = (Ptr::NULL, 1, out.n as u32);
        pass.plan.launch(MoeCombine { experts: widened, weights, shared, residual: x, y: x, rows, top_k, n });
    }

    /// Appends the norm and the router: of one row the router normalises, as the products do that run beside it.
    fn route<'a>(&'a self, pass: &mut Pass, x: Ptr<Act>) -> Input<'a> {
        let mut beside = self.latent.iter().map(|[into, _]| into).chain(self.shared.iter().map(|shared| &shared.up));
        let fuses = pass.rows() == 1 && pass.shared.hidden <= NORMED_COLUMNS && beside.all(takes_norm);
        if let (true, NormWeights::Rms { weight, eps, roundings }) = (fuses, self.norm.weights) {
            let (weight, normed) = (weight.ptr(), self.norm.normed.ptr());
            let route = self.router(pass, x);
            pass.plan.launch(MoeRoute { norm_weight: weight, normed, eps, roundings, ..route });
            return Input { x, norm: Some(&self.norm), normed };
        }
        let normed = pass.norm(&self.norm, x, pass.rows());
        let route = self.router(pass, normed);
        pass.plan.launch(route);
        Input { x: normed, norm: None, normed }
    }

    /// The router, without a norm.
    fn router(&self, pass: &Pass, x: Ptr<Act>) -> MoeRoute {
        MoeRoute {
            x,
            norm_weight: Ptr::NULL,
            normed: Ptr::NULL,
            w: self.router_weight.ptr(),
            bias: self.router_bias.ptr(),
            logits: self.scratch.logits.ptr(),
            counters: self.scratch.counters.ptr(),
            ids: self.scratch.ids.ptr(),
            weights: self.scratch.weights.ptr(),
            rows: pass.rows(),
            hidden: pass.shared.hidden as u32,
            experts: self.experts,
            top_k: self.top_k,
            groups: self.groups,
            top_groups: self.top_groups,
            normalize: self.normalize.into(),
            scale: self.scale,
            eps: 0.0,
            roundings: rms_norm::ONCE,
        }
    }

    /// Adds up what a row's experts gave, weighted, and `[shared, residual]` where they are, to `y`.
    fn combine(&self, pass: &mut Pass, [shared, residual, y]: [Ptr<Act>; 3]) {
        pass.plan.launch(MoeCombine {
            experts: self.scratch.out.ptr(),
            weights: self.scratch.weights.ptr(),
            shared,
            residual,
            y,
            rows: pass.rows(),
            top_k: self.top_k,
            n: self.width,
        });
    }
}
