//! Experts: a router, the products of the experts that are chosen, a shared expert, and their sum.
use gpu_kernels::moe_gemv::MAX_CHOICES;
use gpu_kernels::{
    Act, Element, MoeCombine, MoeGemm, MoeGemv, MoeRoute, MoeSort, Ptr, activation, moe_route, moe_sort,
};

use super::{Kind, PlacedBlock};
use crate::device::{AllReduce, BufferId, Output};
use crate::forward::builder::{Builder, NormBuffers};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::{Activated, Multiply, settles};
use crate::models::spec::{Activation, Moe, Router, SharedExpert};

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
    /// `[rows, hidden]`: this rank's part of the result, where each rank has some of every expert.
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
            latent: self
                .latent
                .as_ref()
                .map(|[into, out]| [builder.product("latent.into", into), builder.product("latent.out", out)]),
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
    Scratch {
        logits: builder.scratch("moe.logits", Element::F32, rows * router.experts),
        counters: builder.counters("moe.counters", rows.div_ceil(moe_route::ROWS as usize)),
        ids: builder.scratch("moe.ids", Element::I32, choices),
        weights: builder.scratch("moe.weights", Element::F32, choices),
        order: builder.scratch("moe.order", Element::I32, choices),
        tiles: builder.scratch("moe.tiles", Element::I32, 4 * tiles),
        activated: builder.scratch("moe.activated", Element::Act, choices * block.intermediate),
        out: builder.scratch("moe.out", Element::Act, choices * block.width),
        part_of_rank: block.down.is_partial().then(|| {
            let hidden = block.latent.as_ref().map_or(block.width, |[_, out]| out.rows());
            builder.scratch("moe.part_of_rank", Element::Act, rows * hidden)
        }),
        latent: builder.scratch("moe.latent", Element::Act, latent.max(1)),
        widened: builder.scratch("moe.widened", Element::Act, widened.max(1)),
    }
}

impl PlacedBlock for PlacedMoe {
    fn steps(&self, pass: &mut Pass) {
        let (x, rows) = (pass.shared.x.ptr(), pass.rows());
        let normed = pass.norm(&self.norm, x, rows);
        // The weights of the shared expert are on their way while the router chooses, which few blocks do.
        self.route(pass, normed);
        let last = self.latent.is_none();
        let shared = self.shared.as_ref().map_or(Ptr::NULL, |shared| shared.steps(pass, normed, last));
        let latent = self.scratch.latent.ptr();
        let Some([into, out]) = &self.latent else {
            self.experts(pass, normed);
            let (residual, y) = self.sum(x);
            self.combine(pass, Combined { shared, residual, y });
            return self.meet(pass);
        };
        pass.multiply(Multiply { holds_next: true, ..Multiply::new(normed, into, Output::Act(latent), rows) });
        self.experts(pass, latent);
        self.combine(pass, Combined { shared: Ptr::NULL, residual: Ptr::NULL, y: latent });
        let widened = self.scratch.widened.ptr();
        pass.multiply(Multiply::new(latent, out, Output::Act(widened), rows));
        let (weights, top_k, n) = (Ptr::NULL, 1, out.n as u32);
        // What goes through `out` may be a part of a sum: the product is linear, so the ranks meet behind it.
        let (residual, y) = self.sum(x);
        pass.plan.launch(MoeCombine { experts: widened, weights, shared, residual, y, rows, top_k, n });
        self.meet(pass);
    }

    fn copy_slots(&self, _: &mut Pass) {}
}

impl Shared {
    /// The shared expert's output for normalised rows; with `holds_next` as of [`Multiply`].
    fn steps(&self, pass: &mut Pass, normed: Ptr<Act>, holds_next: bool) -> Ptr<Act> {
        let (activated, out, rows) = (self.activated.ptr(), self.out.ptr(), pass.rows());
        let activation = Some(Activated { by: Activation::Relu2, sums: activated });
        pass.multiply(Multiply { activation, ..Multiply::new(normed, &self.up, Output::Act(activated), rows) });
        pass.multiply(Multiply { holds_next, ..Multiply::new(activated, &self.down, Output::Act(out), rows) });
        out
    }
}

/// What the experts' sum is added to, and where it goes.
struct Combined {
    shared: Ptr<Act>,
    residual: Ptr<Act>,
    y: Ptr<Act>,
}

impl PlacedMoe {
    /// What the sum of all experts is added to, and where it goes: to the stream, or where ranks meet first.
    fn sum(&self, x: Ptr<Act>) -> (Ptr<Act>, Ptr<Act>) {
        self.scratch.part_of_rank.map_or((x, x), |part| (Ptr::NULL, part.ptr()))
    }

    /// Adds up what the ranks have, if they have parts.
    fn meet(&self, pass: &mut Pass) {
        let Some(part) = self.scratch.part_of_rank else { return };
        let (x, y, rows) = (Output::Act(part.ptr()), pass.shared.x.ptr(), pass.rows());
        let n = pass.shared.hidden as u32;
        pass.plan.all_reduce(AllReduce { x, bias: Ptr::NULL, residual: y, y, rows, n });
    }

    fn route(&self, pass: &mut Pass, x: Ptr<Act>) {
        pass.plan.launch(MoeRoute {
            x,
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
        });
    }

    /// Both products of the chosen experts: few rows by streaming the weights that are met, many sorted by expert.
    fn experts(&self, pass: &mut Pass, x: Ptr<Act>) {
        let (ids, rows) = (self.scratch.ids.ptr(), pass.rows());
        let (activated, out) = (self.scratch.activated.ptr(), self.scratch.out.ptr());
        let &PlacedMoe { top_k, experts, intermediate, width, .. } = self;
        if rows * top_k <= MAX_CHOICES && self.up.streams() && self.down.streams() {
            let product_in_front = self.shared.is_some() || self.latent.is_some();
            let up = MoeGemv {
                x,
                w: self.up.weight.ptr(),
                ids,
                y: activated,
                rows,
                top_k,
                experts,
                n: intermediate,
                k: width,
                activation: activation::RELU2,
                row_per_choice: 0,
                ids_settled: (product_in_front && settles(rows)).into(),
            };
            let (w, n, k, activation) = (self.down.weight.ptr(), width, intermediate, activation::PLAIN);
            pass.multiply_few_experts(&self.up, up);
            let down = MoeGemv { x: activated, w, y: out, n, k, activation, row_per_choice: 1, ids_settled: 1, ..up };
            pass.multiply_few_experts(&self.down, down);
            return;
        }
        let (order, tiles) = (self.scratch.order.ptr(), self.scratch.tiles.ptr());
        pass.plan.launch(MoeSort { ids, order, tiles, rows, top_k, experts });
        let up = MoeGemm {
            x,
            w: self.up.weight.ptr(),
            order,
            tiles,
            y: activated,
            rows,
            top_k,
            experts,
            first: 0,
            held: experts,
            n: intermediate,
            k: width,
            activation: activation::RELU2,
            row_per_choice: 0,
        };
        let (w, n, k, activation) = (self.down.weight.ptr(), width, intermediate, activation::PLAIN);
        pass.multiply_experts(&self.up, up);
        pass.multiply_experts(
            &self.down,
            MoeGemm { x: activated, w, y: out, n, k, activation, row_per_choice: 1, ..up },
        );
    }

    fn combine(&self, pass: &mut Pass, Combined { shared, residual, y }: Combined) {
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
