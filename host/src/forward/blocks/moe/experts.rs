//! Both products of the chosen experts.
use gpu_kernels::moe_gemv::MAX_CHOICES;
use gpu_kernels::{Act, MoeGemm, MoeGemv, MoeSort, Ptr, activation};

use super::PlacedMoe;
use crate::forward::pass::Pass;

/// The products, as the first one is.
pub enum ExpertProducts<'a> {
    /// Of few rows, by streaming the weights that are met.
    Few(&'a PlacedMoe, MoeGemv),
    /// Of many, sorted by expert.
    Many(&'a PlacedMoe, MoeGemm),
}

impl<'a> ExpertProducts<'a> {
    /// Those of the rows `x`, which are chosen for; where they are many, they are sorted first.
    pub fn of(block: &'a PlacedMoe, pass: &mut Pass, x: Ptr<Act>) -> ExpertProducts<'a> {
        let (rows, top_k, experts) = (pass.rows(), block.top_k, block.experts);
        if rows * top_k <= MAX_CHOICES && block.up.streams() && block.down.streams() {
            return ExpertProducts::Few(block, few(block, x, rows));
        }
        let scratch = &block.scratch;
        let (ids, order, tiles) = (scratch.ids.ptr(), scratch.order.ptr(), scratch.tiles.ptr());
        pass.plan.launch(MoeSort { ids, order, tiles, rows, top_k, experts });
        ExpertProducts::Many(block, many(block, x, rows))
    }

    /// Whether what stands behind the first starts only when what is in front of it has ended.
    pub fn are_streamed(&self) -> bool {
        matches!(self, ExpertProducts::Few(..))
    }

    /// Appends the first.
    pub fn up(&self, pass: &mut Pass) {
        match self {
            ExpertProducts::Few(block, up) => pass.multiply_few_experts(&block.up, *up),
            ExpertProducts::Many(block, up) => pass.multiply_experts(&block.up, *up),
        }
    }

    /// Appends the second.
    pub fn down(&self, pass: &mut Pass) {
        let (activation, row_per_choice) = (activation::PLAIN, 1);
        match self {
            ExpertProducts::Few(block, up) => {
                let (x, w, y, n, k) = (up.y, block.down.weight.ptr(), block.scratch.out.ptr(), up.k, up.n);
                // What is in front of it starts when the first one has seen the choice.
                let ids_settled = 1;
                let down = MoeGemv { x, w, y, n, k, activation, row_per_choice, ids_settled, ..*up };
                pass.multiply_few_experts(&block.down, down);
            }
            ExpertProducts::Many(block, up) => {
                let (x, w, y, n, k) = (up.y, block.down.weight.ptr(), block.scratch.out.ptr(), up.k, up.n);
                pass.multiply_experts(&block.down, MoeGemm { x, w, y, n, k, activation, row_per_choice, ..*up });
            }
        }
    }
}

fn few(block: &PlacedMoe, x: Ptr<Act>, rows: u32) -> MoeGemv {
    MoeGemv {
        x,
        w: block.up.weight.ptr(),
        ids: block.scratch.ids.ptr(),
        y: block.scratch.activated.ptr(),
        rows,
        top_k: block.top_k,
        experts: block.experts,
        n: block.intermediate,
        k: block.width,
        activation: activation::RELU2,
        row_per_choice: 0,
        ids_settled: 0,
    }
}

fn many(block: &PlacedMoe, x: Ptr<Act>, rows: u32) -> MoeGemm {
    MoeGemm {
        x,
        w: block.up.weight.ptr(),
        order: block.scratch.order.ptr(),
        tiles: block.scratch.tiles.ptr(),
        y: block.scratch.activated.ptr(),
        rows,
        top_k: block.top_k,
        experts: block.experts,
        first: 0,
        held: block.experts,
        n: block.intermediate,
        k: block.width,
        activation: activation::RELU2,
        row_per_choice: 0,
    }
}
