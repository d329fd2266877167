//! The mixers of hybrid models as a family describes them.
use super::{Norm, Product, Tensor, TensorUse, Values};

/// A Mamba-2 mixer; [`gpu_kernels::ssm`] says what its sequences keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2 {
    /// The norm in front.
    pub norm: Norm,
    /// z, x, B, C, dt: `[2·heads·head_dim + 2·groups·state_size + heads, hidden]`.
    pub in_proj: Product,
    /// `[heads·head_dim + 2·groups·state_size, 1, 4]`.
    pub conv_weight: Tensor,
    /// `[heads·head_dim + 2·groups·state_size]`.
    pub conv_bias: Tensor,
    /// `[heads]`, kept in f32.
    pub a_log: Tensor,
    /// `[heads]`, kept in f32.
    pub d: Tensor,
    /// `[heads]`, kept in f32.
    pub dt_bias: Tensor,
    /// `[heads·head_dim]`: weight of the norm behind the gate.
    pub gate_norm: Tensor,
    /// `[hidden, heads·head_dim]`.
    pub out_proj: Product,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Groups of heads that share B and C, and groups of the gated norm.
    pub groups: usize,
    /// Width of B, of C, and of a row of the state.
    pub state_size: usize,
    /// Least step size; 0 for none.
    pub dt_min: f32,
    /// Of the norm behind the gate.
    pub eps: f32,
}

impl Mamba2 {
    /// The tensors in the order of use.
    pub fn tensors(&self) -> Vec<TensorUse<'_>> {
        let of = |tensor, values| TensorUse { tensor, group: "mamba", values };
        let vectors = [&self.conv_weight, &self.conv_bias, &self.a_log, &self.dt_bias];
        let vectors = vectors.into_iter().map(move |tensor| of(tensor, Values::AroundZero));
        let factors = [&self.d, &self.gate_norm].into_iter().map(move |tensor| of(tensor, Values::AroundOne));
        let products = self.in_proj.uses("mamba").chain(self.out_proj.uses("mamba"));
        self.norm.uses().chain(products).chain(vectors).chain(factors).collect()
    }

    pub(super) fn products_mut(&mut self) -> Vec<&mut Product> {
        vec![&mut self.in_proj, &mut self.out_proj]
    }
}

/// Experts, of which each token goes to some.
#[derive(Clone, Debug, PartialEq)]
pub struct Moe {
    /// The norm in front.
    pub norm: Norm,
    /// Chooses the experts.
    pub router: Router,
    /// All experts' first matrices: `[experts·intermediate, width]`.
    pub up: Product,
    /// All experts' second matrices: `[experts·width, intermediate]`.
    pub down: Product,
    /// Into and out of the width in which the experts work, if that is not the model's: `[width, hidden]`, `[hidden, width]`.
    pub latent: Option<[Product; 2]>,
    /// The expert that every token goes to.
    pub shared: Option<SharedExpert>,
    /// Width between an expert's matrices.
    pub intermediate: usize,
    /// Width in which the experts work.
    pub width: usize,
}

impl Moe {
    /// The tensors in the order of use.
    pub fn tensors(&self) -> Vec<TensorUse<'_>> {
        let vector = |tensor| TensorUse { tensor, group: "router", values: Values::AroundZero };
        let router = [&self.router.weight, &self.router.bias].map(vector);
        let latent = self.latent.iter().flatten().flat_map(|product| product.uses("latent"));
        let shared = self.shared.iter().flat_map(|shared| [&shared.up, &shared.down]);
        let shared = shared.flat_map(|product| product.uses("shared expert"));
        let experts = self.up.uses("experts").chain(self.down.uses("experts"));
        self.norm.uses().chain(router).chain(latent).chain(shared).chain(experts).collect()
    }

    /// The products that every token takes part in.
    pub fn dense_products_mut(&mut self) -> Vec<&mut Product> {
        let Moe { latent, shared, .. } = self;
        let shared = shared.iter_mut().flat_map(|shared| [&mut shared.up, &mut shared.down]);
        latent.iter_mut().flatten().chain(shared).collect()
    }

    pub(super) fn products_mut(&mut self) -> Vec<&mut Product> {
        let latent = self.latent.iter_mut().flatten();
        let shared = self.shared.iter_mut().flat_map(|shared| [&mut shared.up, &mut shared.down]);
        latent.chain(shared).chain([&mut self.up, &mut self.down]).collect()
    }
}

/// How the experts of a token are chosen, and weighted.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// `[experts, hidden]`, kept in f32.
    pub weight: Tensor,
    /// `[experts]`, kept in f32: added for the choice alone.
    pub bias: Tensor,
    /// Number of experts.
    pub experts: usize,
    /// Experts that a token goes to.
    pub top_k: usize,
    /// Groups of experts.
    pub groups: usize,
    /// Groups that a token may choose from.
    pub top_groups: usize,
    /// Whether the weights of a token's experts are divided by their sum.
    pub normalize: bool,
    /// What the weights are multiplied by.
    pub scale: f32,
}

/// The expert that every token goes to.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedExpert {
    /// `[width, hidden]`.
    pub up: Product,
    /// `[hidden, width]`.
    pub down: Product,
    /// Width between its matrices.
    pub width: usize,
}
