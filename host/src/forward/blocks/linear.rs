//! A single product in place of an attention or a feed-forward.
use super::{Kind, PlacedBlock};
use crate::device::Output;
use crate::forward::builder::{Builder, NormBuffers};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::Multiply;
use crate::models::spec::Linear;

struct PlacedLinear {
    norm: NormBuffers,
    product: ProductBuffer,
}

impl Kind for Linear {
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock> {
        Box::new(PlacedLinear { norm: builder.norm(&self.norm), product: builder.product("linear", &self.product) })
    }
}

impl PlacedBlock for PlacedLinear {
    fn steps(&self, pass: &mut Pass) {
        let x = pass.shared.x.ptr();
        let product = Multiply::new(x, &self.product, Output::Act(x), pass.rows());
        pass.multiply(Multiply { norm: Some(&self.norm), residual: x, ..product });
    }

    fn copy_slots(&self, _: &mut Pass) {}
}
