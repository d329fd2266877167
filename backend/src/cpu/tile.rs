//! The inner tile of products: dot products in 16 lanes, compiled once per instruction set, the same bits from each.
use crate::device::Activation;

/// Lane j of a dot product sums the elements k ≡ j mod `LANES` in their order, by fused multiply-add; then the upper
/// half of the lanes is added to the lower until one is left.
const LANES: usize = 16;

/// Instruction sets that the tile is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// 32 registers of 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 16 registers of 8 lanes, with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the target always has.
    Portable,
}

impl InstructionSet {
    /// All that this machine has, the widest first.
    pub fn available() -> Vec<InstructionSet> {
        let mut sets = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                sets.push(InstructionSet::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(InstructionSet::Avx2);
            }
        }
        sets.push(InstructionSet::Portable);
        sets
    }
}

/// `out[t][n] = Σ_k x[t·k..][k] · w[n][k] + bias[n]`, rounded to `O`. `set` is one of [`InstructionSet::available`].
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls of functions with target features"))]
pub fn strip<O: Activation, W: Activation>(
    set: InstructionSet,
    w: &[&[W]],
    bias: &[f32],
    x: &[f32],
    out: &mut [&mut [O]],
) {
    match set {
        // SAFETY: `available` names an instruction set only where the processor was found to have it.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { strip_avx512(w, bias, x, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { strip_avx2(w, bias, x, out) },
        InstructionSet::Portable => strip_tiles::<O, W, 2, 2>(w, bias, x, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn strip_avx512<O: Activation, W: Activation>(w: &[&[W]], bias: &[f32], x: &[f32], out: &mut [&mut [O]]) {
    strip_tiles::<O, W, 4, 4>(w, bias, x, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn strip_avx2<O: Activation, W: Activation>(w: &[&[W]], bias: &[f32], x: &[f32], out: &mut [&mut [O]]) {
    strip_tiles::<O, W, 2, 2>(w, bias, x, out);
}

/// Covers the strip with tiles of R weight rows and T token rows, and its edges with tiles of one row. The tokens are the
/// outer loop: the strip's weights stay in the cache while they pass.
#[inline(always)]
fn strip_tiles<O: Activation, W: Activation, const R: usize, const T: usize>(
    w: &[&[W]],
    bias: &[f32],
    x: &[f32],
    out: &mut [&mut [O]],
) {
    let k = w[0].len();
    let whole = out.len() / T * T;
    for t in (0..whole).step_by(T) {
        token_tiles::<O, W, R, T>(w, bias, std::array::from_fn(|i| &x[(t + i) * k..][..k]), &mut out[t..]);
    }
    for t in whole..out.len() {
        token_tiles::<O, W, R, 1>(w, bias, [&x[t * k..][..k]], &mut out[t..]);
    }
}

#[inline(always)]
fn token_tiles<O: Activation, W: Activation, const R: usize, const T: usize>(
    w: &[&[W]],
    bias: &[f32],
    x: [&[f32]; T],
    out: &mut [&mut [O]],
) {
    let (tiles, rest) = w.as_chunks::<R>();
    for (n, tile) in tiles.iter().enumerate() {
        for (i, sums) in dots(*tile, x).iter().enumerate() {
            (0..T).for_each(|t| out[t][n * R + i] = O::from_f32(sums[t] + bias[n * R + i]));
        }
    }
    for (n, row) in rest.iter().enumerate() {
        let [sums] = dots([*row], x);
        let n = tiles.len() * R + n;
        (0..T).for_each(|t| out[t][n] = O::from_f32(sums[t] + bias[n]));
    }
}

/// No array is indexed by a variable: each lane array stays in a register.
#[inline(always)]
fn dots<W: Activation, const R: usize, const T: usize>(w: [&[W]; R], x: [&[f32]; T]) -> [[f32; T]; R] {
    let blocks = w[0].len() / LANES;
    let (w_blocks, x_blocks) = (w.map(|w| &w.as_chunks().0[..blocks]), x.map(|x| &x.as_chunks().0[..blocks]));
    let mut lanes = [[[0.0; LANES]; T]; R];
    for block in 0..blocks {
        lanes = multiply_add(lanes, w_blocks.map(|w| &w[block]), x_blocks.map(|x| &x[block]));
    }
    if blocks * LANES < w[0].len() {
        let (w, x) = (w.map(|w| tail(w, blocks)), x.map(|x| tail(x, blocks)));
        lanes = multiply_add(lanes, w.each_ref(), x.each_ref());
    }
    lanes.map(|row| row.map(fold))
}

#[inline(always)]
fn multiply_add<W: Activation, const R: usize, const T: usize>(
    mut lanes: [[[f32; LANES]; T]; R],
    w: [&[W; LANES]; R],
    x: [&[f32; LANES]; T],
) -> [[[f32; LANES]; T]; R] {
    for r in 0..R {
        let w = w[r].map(W::widen);
        for t in 0..T {
            lanes[r][t] = std::array::from_fn(|j| w[j].mul_add(x[t][j], lanes[r][t][j]));
        }
    }
    lanes
}

/// What follows the whole blocks of a row, filled up with zeros.
#[inline(always)]
fn tail<E: Copy + Default>(row: &[E], blocks: usize) -> [E; LANES] {
    let mut tail = [E::default(); LANES];
    tail[..row.len() - blocks * LANES].copy_from_slice(&row[blocks * LANES..]);
    tail
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|j| lanes[j] + lanes[j + 8]);
    let four: [f32; 4] = std::array::from_fn(|j| eight[j] + eight[j + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
