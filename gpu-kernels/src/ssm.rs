//! What the kernels of a Mamba-2 mixer share: its shape, and the state that a sequence keeps between steps.
//!
//! A sequence's state, in a slot of its own, is a checkpoint and the inputs since then. With chunk q = position / [`CHUNK`]:
//!
//! | buffer | shape | holds |
//! |---|---|---|
//! | `state` | `[slots, heads, head_dim, state_size]` | S in front of the first position of chunk `chunk[slot, head]` |
//! | `chunk` | `[slots, heads]` | which chunk that is |
//! | `ring_x` | `[slots, CHUNK, heads·head_dim]` | x behind the convolution, at position mod CHUNK |
//! | `ring_b` | `[slots, 2·CHUNK, groups·state_size]` | B behind the convolution, at position mod 2·CHUNK |
//! | `ring_dt` | `[slots, CHUNK, heads]` | Δ, at position mod CHUNK |
//! | `window` | `[slots, WINDOW, conv_dim]` | the convolution's inputs, at position mod WINDOW |
//!
//! Where something stands depends on the position alone, so a step that is repeated, or that was one too many, writes the
//! same places again. Nothing has to be cleared for a new sequence: what is before position 0 counts as zero, and so does S
//! in chunk 0. What is repeated must be in the chunk that the state stands in front of: S does not go back. Within that chunk
//! any position will do: the rings and the window hold all that was there since the chunk began. So a copy of a slot
//! (`ssm_copy`), made while its sequence is in a chunk, is a snapshot of the position that the chunk begins at.
use crate::PAGE_TOKENS;

#[cfg(target_arch = "nvptx64")]
pub(crate) mod arithmetic;

/// Positions of a chunk, counted from position 0: as many as a page of the KV cache has.
pub const CHUNK: u32 = PAGE_TOKENS;

/// Taps of the convolution.
pub const TAPS: u32 = 4;

/// Positions whose inputs of the convolution are kept: those of a chunk, and what its first tokens read in front of it.
pub const WINDOW: u32 = CHUNK + 8;

/// `a / b` and what is left; 0 and `a` where `b` is 0: a divisor that may be zero would bring a panic, and its message, into a
/// kernel.
pub(crate) const fn divide(a: u32, b: u32) -> (u32, u32) {
    match a.checked_div(b) {
        Some(quotient) => (quotient, a - quotient * b),
        None => (0, a),
    }
}

/// The shape of a mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixer {
    /// Heads.
    pub heads: u32,
    /// Channels of a head.
    pub head_dim: u32,
    /// Groups of heads that share B and C.
    pub groups: u32,
    /// Width of B, of C, and of a row of the state.
    pub state_size: u32,
}

impl Mixer {
    /// Channels of x, of z and of y.
    pub const fn inner(&self) -> u32 {
        self.heads * self.head_dim
    }

    /// Channels of B, and of C.
    pub const fn shared(&self) -> u32 {
        self.groups * self.state_size
    }

    /// Channels of the convolution: x, B, C.
    pub const fn conv_dim(&self) -> u32 {
        self.inner() + 2 * self.shared()
    }

    /// Columns of a row that the input product gives: z, x, B, C, dt.
    pub const fn columns(&self) -> u32 {
        self.inner() + self.conv_dim() + self.heads
    }

    /// Heads of a group.
    pub const fn sharing(&self) -> u32 {
        divide(self.heads, self.groups).0
    }

    /// The group of head `head`.
    pub const fn group(&self, head: u32) -> u32 {
        divide(head, self.sharing()).0
    }

    /// What every kernel of a mixer asks of its shape.
    pub(crate) const fn is_valid(&self) -> bool {
        self.heads > 0
            && self.groups > 0
            && self.heads.is_multiple_of(self.groups)
            && self.head_dim > 0
            && self.head_dim.is_multiple_of(8)
            && self.state_size > 0
            && self.state_size.is_multiple_of(8)
    }
}
