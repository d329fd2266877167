//! Rows of `attn_decode`.

use std::ops::Range;

use gpu_kernels::{AttnDecode, HEAD_DIMS, Kv, Ptr, RopeKvAppend, SPLIT_TOKENS};

use crate::attention::{Cache, Score, Shape, in_fp8, maximum, rotating, shape, visible};
use crate::cached::Kept;
use crate::data::{Data, Values};
use crate::emulator::Emulator;
use crate::mutants::{BARRIER, CLUSTER, Defect, FACTOR, LANES, MASK, PAGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::paged::{Batch, Heads, Sequence};
use crate::random::Random;
use crate::rope_kv_append::{angles, places, rotate};
use crate::target::Target;

const SHAPES: [Shape; 12] = [
    rotating(32, shape((1, 1, 32), 0, &[(1, 1)])),
    rotating(64, shape((24, 8, 128), 0, &[(1, 71)])),
    rotating(256, shape((12, 4, 256), 0, &[(1, 9)])),
    shape((4, 2, 64), 0, &[(1, 70), (3, 90), (1, 300), (1, 0), (1, 0)]),
    rotating(64, shape((4, 2, 64), 0, &[(1, 70), (1, 300), (1, 0), (1, 0)])),
    Shape { scale: 6.0, ..rotating(128, shape((4, 1, 128), 0, &[(1, 200)])) },
    Shape { scale: 6.0, ..shape((4, 1, 128), 0, &[(1, 800)]) },
    // Rotations of other widths, and none at all.
    rotating(60, shape((2, 1, 64), 0, &[(1, 65), (1, 129)])),
    rotating(36, shape((3, 3, 96), 0, &[(1, 128)])),
    rotating(2, shape((4, 2, 256), 0, &[(1, 7), (1, 130)])),
    rotating(0, shape((3, 3, 64), 0, &[(1, 67), (1, 193)])),
    // More splits than a warp asks for at once.
    rotating(32, shape((1, 1, 32), 0, &[(1, 17_000)])),
];

/// For every head size: from one query head per kv head to more than are worked on together; pages and splits that end
/// early, exactly and late; a window that hides whole splits, the first of two among them; more splits than are joined at once.
const fn every_size(dim: usize) -> [Shape; 11] {
    [
        rotating(dim, shape((3, 1, dim), 70, &[(1, 200), (1, 256), (1, 140)])),
        rotating(dim, shape((2, 2, dim), 0, &[(1, 33), (1, 64), (1, 65), (1, 127)])),
        rotating(dim / 2, shape((3, 1, dim), 0, &[(1, 130), (1, 384), (1, 0)])),
        rotating(dim, shape((8, 1, dim), 0, &[(1, 128), (1, 31)])),
        shape((5, 1, dim), 0, &[(1, 129), (1, 385)]),
        shape((4, 1, dim), 130, &[(1, 300), (1, 129), (1, 131)]),
        rotating(dim, shape((6, 2, dim), 40, &[(1, 1), (1, 400), (1, 150)])),
        rotating(dim - 2, shape((4, 2, dim), 0, &[(1, 100), (1, 0)])),
        rotating(dim, shape((11, 1, dim), 0, &[(1, 77), (1, 200)])),
        shape((40, 2, dim), 20, &[(1, 139), (1, 0)]),
        rotating(dim, shape((2, 1, dim), 0, &[(1, 5000)])),
    ]
}

/// For every head size, what few blocks do on a GPU of one multiprocessor: two turns of two splits, with a window too; two teams, whose
/// blocks leave sums to join in memory; a turn each, of more blocks than find room.
const fn every_size_by_turns(dim: usize) -> [Shape; 4] {
    [
        rotating(dim, shape((3, 1, dim), 0, &[(1, 256), (1, 140)])),
        shape((4, 1, dim), 70, &[(1, 190), (1, 227)]),
        rotating(dim, shape((11, 1, dim), 0, &[(1, 300), (1, 513)])),
        rotating(dim, shape((3, 1, dim), 0, &[(1, 400)])),
    ]
}

/// For every head size, with pools of codes: pages and splits that end early, exactly and late, rotations that no access
/// of two divides, teams, windows, more splits than are joined at once.
const fn every_size_in_fp8(dim: usize) -> [Shape; 8] {
    [
        in_fp8(rotating(dim, shape((3, 1, dim), 70, &[(1, 200), (1, 256), (1, 140)]))),
        in_fp8(rotating(dim, shape((2, 2, dim), 0, &[(1, 33), (1, 64), (1, 65), (1, 127)]))),
        in_fp8(rotating(dim - 2, shape((3, 1, dim), 0, &[(1, 190), (1, 389), (1, 0)]))),
        in_fp8(rotating(dim - 4, shape((4, 2, dim), 0, &[(1, 70), (1, 0)]))),
        in_fp8(rotating(dim / 2, shape((4, 1, dim), 40, &[(1, 400), (1, 131)]))),
        in_fp8(rotating(dim, shape((11, 1, dim), 0, &[(1, 77), (1, 200)]))),
        in_fp8(Shape { scale: 6.0, ..shape((18, 1, dim), 20, &[(1, 139)]) }),
        in_fp8(Shape { nan: true, ..shape((2, 1, dim), 0, &[(1, 100), (1, 50)]) }),
    ]
}

/// For every head size, as many splits as a cluster has: all and a part of them live, two teams with a window, codes.
const fn every_size_in_clusters(dim: usize) -> [Shape; 3] {
    [
        rotating(dim, shape((3, 1, dim), 0, &[(1, 1000), (1, 513), (1, 129), (1, 0)])),
        shape((17, 1, dim), 300, &[(1, 1024), (1, 520)]),
        in_fp8(rotating(dim, shape((4, 1, dim), 0, &[(1, 950), (1, 400)]))),
    ]
}

fn shapes() -> impl Iterator<Item = Shape> {
    let deep = in_fp8(rotating(32, shape((1, 1, 32), 0, &[(1, 5000)])));
    // Codes below the least normal one alone.
    let coarse = [(128, 128), (32, 32), (32, 30)].map(|(dim, rotary)| {
        in_fp8(Shape { coarse: 2e4, ..rotating(rotary, shape((3, 1, dim), 0, &[(1, 100), (1, 150)])) })
    });
    let every_size = HEAD_DIMS.iter().flat_map(|dim| every_size(*dim as usize));
    let in_fp8 = HEAD_DIMS.iter().flat_map(|dim| every_size_in_fp8(*dim as usize));
    let in_clusters = HEAD_DIMS.iter().flat_map(|dim| every_size_in_clusters(*dim as usize));
    let by_turns = HEAD_DIMS.iter().flat_map(|dim| every_size_by_turns(*dim as usize));
    SHAPES.into_iter().chain(every_size).chain(in_fp8).chain([deep]).chain(coarse).chain(in_clusters).chain(by_turns)
}

pub fn rows() -> Vec<Row<AttnDecode>> {
    // A depth class is a power of two.
    let rows = shapes().enumerate().map(|(seed, shape)| row(seed as u64, &shape, usize::next_power_of_two));
    // But the last one, which a model's length ends: five splits, by turns of few blocks that leave sums to join in memory.
    let five = in_fp8(rotating(128, shape((4, 1, 128), 0, &[(1, 600)])));
    // The same of a team that is no small one, and has as many blocks at once with values apart as in the keys' place.
    let large = in_fp8(rotating(128, shape((5, 1, 128), 0, &[(1, 600)])));
    rows.chain([row(1000, &five, |splits| splits), row(1001, &large, |splits| splits)]).collect()
}

/// One of the rows; `class` makes a depth class of the splits of the longest sequence.
pub fn row(seed: u64, shape: &Shape, class: impl Fn(usize) -> usize) -> Row<AttnDecode> {
    let mut random = Random::new(seed);
    let (Heads { heads, kv_heads, dim }, sequences) = (shape.heads, sequences(shape));
    let batch = batch(shape, &mut random);
    let longest = sequences.iter().map(|s| s.length).max().unwrap_or(0);
    let splits = class(longest.div_ceil(SPLIT_TOKENS as usize).max(2));
    let mut data = Data::default();
    let mut table = |name, f| match shape.rotary {
        Some(rotary) => data.reals(name, angles(longest, rotary, f)),
        None => Ptr::NULL,
    };
    let (cos, sin) = (table("cos", f64::cos), table("sin", f64::sin));
    let [k_scale, v_scale] = shape.kept().map(|kept| kept.scale);
    let qkv = data.reals("qkv", random.reals(batch.rows() * shape.heads.qkv(), shape.scale));
    let [k_pool, v_pool] = shape.pools(&batch, &mut random).map(Values::Reals);
    let kernel = AttnDecode {
        qkv,
        cos,
        sin,
        k_pool: data.pool("k_pool", shape.kv, k_pool),
        v_pool: data.pool("v_pool", shape.kv, v_pool),
        block_table: data.integers("block_table", batch.block_table.clone()),
        row_start: data.integers("row_start", batch.row_start.clone()),
        lengths: data.integers("lengths", batch.lengths.clone()),
        partial: data.undefined("partial", sequences.len() * heads * splits * dim),
        stats: data.undefined("stats", sequences.len() * heads * splits * 2),
        counters: data.integers("counters", vec![0; sequences.len() * heads]),
        out: data.undefined("out", batch.rows() * heads * dim),
        sequences: sequences.len() as u32,
        splits: splits as u32,
        q_stride: shape.heads.qkv() as u32,
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        rotary_dims: shape.rotary.unwrap_or(0) as u32,
        pages_per_sequence: batch.pages_per_sequence as u32,
        window: shape.window as u32,
        scale: 1.0 / (dim as f32).sqrt(),
        kv: shape.kv,
        k_scale,
        v_scale,
    };
    let (rotary, window) = (shape.rotary, shape.window);
    let (heads, kv, scale) = (shape.heads, shape.kv, shape.scale);
    let name = format!("{heads:?}, {kv:?}, rotary {rotary:?}, window {window}, {:?}, {scale}", shape.sequences);
    Row { name, kernel, data }
}

fn sequences(shape: &Shape) -> Vec<Sequence> {
    shape.sequences.iter().map(|(new, length)| Sequence { new: *new, length: *length }).collect()
}

/// The batch, whose pools do not hold yet what the launch adds.
fn batch(shape: &Shape, random: &mut Random) -> Batch {
    let mut batch = Batch::new(&sequences(shape), random);
    if shape.rotary.is_some() {
        batch.sequences.iter_mut().for_each(|sequence| sequence.length = sequence.length.saturating_sub(1));
    }
    batch
}

impl Oracle for AttnDecode {
    const C: f64 = 16.0;
    const D: f64 = 2.0;
    const DEFECTS: &[Defect] = &[MASK, PAGE, TERM, FACTOR, LANES, BARRIER, STRIDE, CLUSTER];

    /// Of the entries with pools of codes one is enough; what makes codes there, `rope_kv_append` has too. Entries in clusters
    /// differ in how they join.
    fn spares(entry: &str, defect: &Defect) -> bool {
        if entry.contains("_cluster_") {
            let joins = [TERM, BARRIER, CLUSTER].iter().any(|own| own.name == defect.name);
            let in_fp8 = entry == "attn_decode_cluster_fp8_256" && defect.name != TERM.name;
            return !joins || entry != "attn_decode_cluster_32" && !in_fp8;
        }
        let elsewhere = [TERM, FACTOR, STRIDE].iter().any(|other| other.name == defect.name);
        entry.contains("_fp8_") && (entry != "attn_decode_fp8_32" || elsewhere)
    }

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (heads, splits, dim) = (self.heads as usize, self.splits as usize, self.head_dim as usize);
        let tables = (self.block_table, self.pages_per_sequence);
        let mut cache = Cache::new(data, pools(self), tables, (self.kv_heads, self.head_dim));
        let mut rows = data.f64s(self.qkv);
        let [k_pool, v_pool] = append(self, data, precision, &mut rows, &mut cache);
        let (row_start, lengths) = (data.i32s(self.row_start), data.i32s(self.lengths));
        let mut partial = vec![Want::Kept; self.sequences as usize * heads * splits * dim];
        let mut stats = vec![Want::Kept; self.sequences as usize * heads * splits * 2];
        let mut out = vec![Want::Kept; row_start[lengths.len()] as usize * heads * dim];
        for (s, head) in adding(self, data).flat_map(|s| (0..heads).map(move |head| (s, head))) {
            let row = row_start[s] as usize;
            let out = &mut out[(row * heads + head) * dim..][..dim];
            if lengths[s] == 0 {
                out.fill(Want::exact(0.0));
                continue;
            }
            let query = &rows[row * self.q_stride as usize + head * dim..][..dim];
            let group = (s, head / (heads / self.kv_heads as usize));
            let joined: Vec<(usize, Split)> = split_keys(visible(lengths[s] as usize - 1, self.window))
                .map(|(i, keys)| {
                    let scores = cache.scores(query, group, keys, f64::from(self.scale));
                    (i, Split::new(&cache, group, &scores, precision))
                })
                .collect();
            out.copy_from_slice(&join(&joined, dim, precision));
            for (i, split) in joined.iter().filter(|_| joined.len() > 1) {
                let at = (s * heads + head) * splits + i;
                stats[at * 2..][..2].copy_from_slice(&[split.max, split.total].map(Sum::want));
                partial[at * dim..][..dim].copy_from_slice(&split.sums.iter().map(|s| s.want()).collect::<Vec<_>>());
            }
        }
        if splits <= 8 {
            // On some devices the splits are clusters, which keep neither.
            partial.iter_mut().chain(&mut stats).for_each(|want| *want = want.optional());
        }
        let pools = [Written::new(self.k_pool, k_pool), Written::new(self.v_pool, v_pool)];
        let own = [Written::new(self.partial, partial), Written::new(self.stats, stats), Written::new(self.out, out)];
        pools.into_iter().chain(own).collect()
    }
}

/// The pools, and what they keep.
fn pools(args: &AttnDecode) -> [(Ptr<Kv>, Kept); 2] {
    let kept = |scale| Kept { format: args.kv, scale };
    [(args.k_pool, kept(args.k_scale)), (args.v_pool, kept(args.v_scale))]
}

/// The sequences with one new row.
fn adding(args: &AttnDecode, data: &Data) -> impl Iterator<Item = usize> {
    let row_start = data.i32s(args.row_start);
    (0..args.sequences as usize).filter(|s| row_start[s + 1] - row_start[*s] == 1)
}

fn split_keys(keys: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
    let tokens = SPLIT_TOKENS as usize;
    let numbers = keys.start / tokens..keys.end.div_ceil(tokens);
    numbers.map(move |i| (i, keys.start.max(i * tokens)..keys.end.min((i + 1) * tokens)))
}

/// Rotates the rows, and adds their keys and values to the cache; what becomes of the pools.
fn append(args: &AttnDecode, data: &Data, precision: Precision, rows: &mut [f64], cache: &mut Cache) -> [Vec<Want>; 2] {
    let mut pools = [vec![Want::Kept; cache.k_pool.len()], vec![Want::Kept; cache.v_pool.len()]];
    let (heads, kv_heads, dim) = (args.heads as usize, args.kv_heads as usize, args.head_dim as usize);
    let kept = self::pools(args).map(|(_, kept)| kept);
    let (row_start, lengths) = (data.i32s(args.row_start), data.i32s(args.lengths));
    let (cos, sin) = if args.cos.is_null() {
        return pools;
    } else {
        (data.f64s(args.cos), data.f64s(args.sin))
    };
    for s in adding(args, data).filter(|s| lengths[*s] > 0) {
        let (position, half) = (lengths[s] as usize - 1, args.rotary_dims as usize / 2);
        let angles = position * half..(position + 1) * half;
        let row = &mut rows[row_start[s] as usize * args.q_stride as usize..][..args.q_stride as usize];
        let rotated = row[..(heads + kv_heads) * dim].chunks_mut(dim);
        rotated.for_each(|head| rotate(head, &cos[angles.clone()], &sin[angles.clone()], precision));
        for head in 0..kv_heads {
            let cached = cache.row(s, head, position);
            let numbers = [heads + head, heads + kv_heads + head].map(|head| &row[head * dim..][..dim]);
            let caches = [&mut cache.k_pool, &mut cache.v_pool];
            for (i, (wants, cache)) in pools.iter_mut().zip(caches).enumerate() {
                for (at, number) in cached.clone().zip(numbers[i]) {
                    let element = kept[i].of(*number);
                    wants[at] = Want::exact(element);
                    cache[at] = kept[i].number(element);
                }
            }
        }
    }
    pools
}

/// A sum with its first-order error and the sum of what a rounded weight is a factor of.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    error: f64,
    terms: f64,
}

impl Sum {
    fn want(self) -> Want {
        Want::Value { value: self.value, error: self.error, terms: self.terms }
    }
}

/// What a split comes to.
struct Split {
    max: Sum,
    total: Sum,
    sums: Vec<Sum>,
}

impl Split {
    fn new(cache: &Cache, group: (usize, usize), scores: &[Score], precision: Precision) -> Split {
        let max = maximum(scores);
        let (mut total, mut sums) = (Sum::default(), vec![Sum::default(); cache.dim]);
        for score in scores {
            let e = (score.value - max.value).exp();
            // The exponential moves by as much as its argument does.
            let error = 1.0 + score.error + max.error;
            total.value += e;
            total.error += e * error;
            for (sum, value) in sums.iter_mut().zip(cache.value(group, score.position)) {
                sum.value += precision.round(e) * value;
                sum.error += e * value.abs() * error;
                sum.terms += e * value.abs();
            }
        }
        Split { max: Sum { value: max.value, error: max.error, terms: 0.0 }, total, sums }
    }
}

fn join(splits: &[(usize, Split)], dim: usize, precision: Precision) -> Vec<Want> {
    let max = splits.iter().map(|(_, split)| split.max).max_by(|a, b| a.value.total_cmp(&b.value)).expect("a split");
    let (mut total, mut sums) = (Sum::default(), vec![Sum::default(); dim]);
    for (_, split) in splits {
        let factor = (split.max.value - max.value).exp();
        // The exponential's argument (a difference, a product), the exponential, the product and the sum.
        let error = 3.0 + split.max.value.abs() + max.value.abs() + split.max.error + max.error;
        let add = |to: &mut Sum, from: &Sum| {
            to.value += factor * from.value;
            to.error += factor * (from.error + error * from.value.abs());
            to.terms += factor * from.terms;
        };
        add(&mut total, &split.total);
        sums.iter_mut().zip(&split.sums).for_each(|(to, from)| add(to, from));
    }
    let want = |sum: Sum| {
        let value = sum.value / total.value;
        let error = (sum.error + value.abs() * total.error) / total.value;
        Want::Value { value: precision.round(value), error, terms: sum.terms / total.value }
    };
    sums.into_iter().map(want).collect()
}

/// `rope_kv_append` and then attention without angles, on the emulator.
fn in_two_launches(seed: u64, shape: &Shape) -> [Vec<Option<f64>>; 3] {
    let Row { kernel, mut data, .. } = row(seed, shape, usize::next_power_of_two);
    let (positions, slots) = places(&Batch::new(&sequences(shape), &mut Random::new(seed)));
    let rope = RopeKvAppend {
        qkv: kernel.qkv,
        cos: kernel.cos,
        sin: kernel.sin,
        positions: data.integers("positions", positions.clone()),
        slot_mapping: data.integers("slot_mapping", slots),
        k_pool: kernel.k_pool,
        v_pool: kernel.v_pool,
        rows: positions.len() as u32,
        heads: kernel.heads,
        kv_heads: kernel.kv_heads,
        head_dim: kernel.head_dim,
        rotary_dims: kernel.rotary_dims,
        kv: kernel.kv,
        k_scale: kernel.k_scale,
        v_scale: kernel.v_scale,
    };
    let rotated = Emulator::new().run(&rope, &data).expect("rope_kv_append runs");
    let buffers = [kernel.qkv.target(), kernel.k_pool.target(), kernel.v_pool.target()];
    for number in buffers.map(|target| target.expect("not null").0 as usize) {
        let values = rotated[number].iter().map(|value| value.expect("defined") as f32).collect();
        data.0[number].values = crate::data::Values::Reals(values);
    }
    let attention = AttnDecode { cos: Ptr::NULL, sin: Ptr::NULL, ..kernel };
    written(&attention, &Emulator::new().run(&attention, &data).expect("attn_decode runs"))
}

/// The output and the pools.
pub fn written(kernel: &AttnDecode, outcome: &[Vec<Option<f64>>]) -> [Vec<Option<f64>>; 3] {
    let of = |target: Option<(u32, u64)>| outcome[target.expect("not null").0 as usize].clone();
    [of(kernel.out.target()), of(kernel.k_pool.target()), of(kernel.v_pool.target())]
}

#[test]
fn rotation_within_equals_rotation_before_to_the_bit() {
    for (seed, shape) in shapes().enumerate() {
        // Pads share a row of the scrap page, which rope_kv_append writes.
        if shape.rotary.is_none() || shape.sequences.iter().any(|(_, length)| *length == 0) {
            continue;
        }
        let Row { name, kernel, data } = row(seed as u64, &shape, usize::next_power_of_two);
        let once = written(&kernel, &Emulator::new().run(&kernel, &data).expect("attn_decode runs"));
        assert!(once == in_two_launches(seed as u64, &shape), "{name}");
    }
}
