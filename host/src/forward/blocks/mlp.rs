//! A dense feed-forward: two products, an activation between them.
use gpu_kernels::Element;

use super::{Kind, PlacedBlock};
use crate::device::{BufferId, Output};
use crate::forward::builder::{Builder, NormBuffers};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::{Activated, Multiply};
use crate::models::spec::{Activation, Mlp};

struct PlacedMlp {
    norm: NormBuffers,
    up: ProductBuffer,
    down: ProductBuffer,
    activation: Activation,
    /// `[rows, intermediate]`, or gate and up.
    sums: BufferId,
    /// `[rows, intermediate]`; without a gate the same as `sums`.
    activated: BufferId,
}

impl Kind for Mlp {
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock> {
        let rows = builder.limits.rows;
        let sums = builder.scratch("up", Element::Act, rows * self.up.rows());
        let activated = match self.activation {
            Activation::Relu2 => sums,
            Activation::SwiGlu => builder.scratch("gated", Element::Act, rows * self.intermediate),
        };
        Box::new(PlacedMlp {
            norm: builder.norm(&self.norm),
            up: builder.product("up", &self.up),
            down: builder.product("down", &self.down),
            activation: self.activation,
            sums,
            activated,
        })
    }
}

impl PlacedBlock for PlacedMlp {
    fn steps(&self, pass: &mut Pass) {
        let (x, rows) = (pass.shared.x.ptr(), pass.rows());
        let activation = Some(Activated { by: self.activation, sums: self.sums.ptr() });
        let up = Multiply::new(x, &self.up, Output::Act(self.activated.ptr()), rows);
        pass.multiply(Multiply { norm: Some(&self.norm), activation, ..up });
        let down = Multiply::new(self.activated.ptr(), &self.down, Output::Act(x), rows);
        pass.multiply(Multiply { residual: x, ..down });
    }

    fn copy_slots(&self, _: &mut Pass) {}
}
