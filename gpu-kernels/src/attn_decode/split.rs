//! The split of keys and values that a block of `attn_decode` owns.
use super::{AttnDecode, STAT_WORDS};
use crate::pages::{Pages, first_key, one_new_row};
use crate::{PAGE_TOKENS, SPLIT_TOKENS, row};
use core::num::NonZero;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{global, thread};

/// Lanes that own a key together.
pub const QUAD: u32 = 4;
/// Eight neighbouring elements.
pub type Group = [u32; 4];

/// The splits of a sequence that hold a key in sight.
#[derive(Clone, Copy)]
pub struct Live {
    pub first: u32,
    pub count: u32,
}

/// The block's split of the keys of one kv head. Keys count from its start.
pub struct Split<const DIM: u32> {
    /// A copy: a reference in an `Option` would keep the struct in local memory.
    pub args: AttnDecode,
    pub pages: Pages,
    /// Position of the token.
    pub position: u32,
    /// Position of key 0.
    start: u32,
    /// The live keys.
    first: u32,
    end: u32,
    /// Those from here on come with this launch: one at most, the last.
    fresh: u32,
    /// The splits that are to be joined.
    pub live: Live,
    /// Query heads of the block's team.
    pub group: u32,
    /// The first of them.
    pub first_head: u32,
    /// Whether a fresh key and its value are this block's to store.
    stores: bool,
    /// Address of the token's row of queries, keys and values.
    pub qkv: u64,
    /// Address of the first query head's output.
    pub out: u64,
    /// Index in `stats` of the first query head and split 0; the next head is `args.splits` further on.
    pub index: u64,
    /// Index in `counters`.
    pub counter: u64,
    /// `[group, SPLIT_TOKENS]`: scores, then weights.
    pub scores: Shared<f32>,
    /// `[group]`: maximum and sum of the split.
    pub stats: Shared<[f32; 2]>,
    /// `[group + 1, DIM]` of bf16: the queries and the new key, until the scores are there.
    pub rows: Shared<u16>,
    /// `[SPLIT_TOKENS / VALUE_KEYS, HEADS, DIM]`, in the same place.
    pub sums: Shared<f32>,
}

impl<const DIM: u32> Split<DIM> {
    /// The split of this block; none where nothing is to be done.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &AttnDecode) -> Option<Split<DIM>> {
        let (kv_head, sequence) = (thread::block_idx_y(), thread::block_idx_z());
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let all = args.heads / NonZero::new(args.kv_heads)?;
        let teams = NonZero::new(thread::grid_dim_x() / NonZero::new(args.splits)?)?;
        let (split, team) = (thread::block_idx_x() / teams, thread::block_idx_x() % teams);
        let size = (all + teams.get() - 1) / teams;
        // SAFETY: the sequence exists.
        let (row, length) = unsafe {
            let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
            (u64::from(one_new_row(args.row_start, sequence)?), length)
        };
        let start = split * SPLIT_TOKENS;
        let sight = first_key(length, args.window);
        let first = sight.saturating_sub(start);
        if start >= length || first >= SPLIT_TOKENS {
            return None;
        }
        let group = size.min(all - team * size);
        let first_head = kv_head * all + team * size;
        let head = u64::from(first_head);
        let (sequence, heads, dim) = (u64::from(sequence), u64::from(args.heads), u64::from(DIM));
        let table = args.block_table.addr + sequence * u64::from(args.pages_per_sequence) * 4;
        let end = (length - start).min(SPLIT_TOKENS);
        let live = Live { first: sight / SPLIT_TOKENS, count: length.div_ceil(SPLIT_TOKENS) - sight / SPLIT_TOKENS };
        let adds = !args.cos.is_null() && start + end == length;
        let scores = shared::dynamic::<f32>();
        let sums = scores.offset(group * (SPLIT_TOKENS + STAT_WORDS));
        Some(Split {
            args: *args,
            pages: Pages { table, kv_heads: args.kv_heads, kv_head, head_dim: DIM },
            position: length - 1,
            start,
            first,
            end,
            fresh: if adds { end - 1 } else { end },
            live,
            group,
            first_head,
            stores: team == 0,
            qkv: args.qkv.addr + row * u64::from(args.q_stride) * 2,
            out: args.out.addr + (row * heads + head) * dim * 2,
            index: (sequence * heads + head) * u64::from(args.splits),
            counter: sequence * heads + head,
            scores,
            stats: scores.offset(group * SPLIT_TOKENS).cast(),
            rows: sums.cast(),
            sums,
        })
    }

    #[inline(always)]
    pub fn lives(&self, key: u32) -> bool {
        self.first <= key && key < self.end
    }

    /// Whether `key` is in the pool already.
    #[inline(always)]
    fn is_stored(&self, key: u32) -> bool {
        self.first <= key && key < self.fresh
    }

    /// Whether `key` comes with this launch.
    #[inline(always)]
    fn is_fresh(&self, key: u32) -> bool {
        self.fresh <= key && key < self.end
    }

    /// Whether the block has a fresh key.
    #[inline(always)]
    pub fn adds(&self) -> bool {
        self.fresh < self.end
    }

    /// Offset in a pool of key `key`'s row, where one of the `count` keys from `from` on is live; all are of one page.
    ///
    /// # Safety
    /// The split is this block's.
    #[inline(always)]
    unsafe fn offset(&self, from: u32, count: u32) -> u64 {
        if from >= self.end || from + count <= self.first {
            return 0;
        }
        let key = self.start + from;
        // SAFETY: a live key is in that page.
        unsafe { self.pages.offset(key) + u64::from(key % PAGE_TOKENS * DIM * 2) }
    }

    /// The lane's groups of its quad's keys; zeros where a key is not in the pool.
    ///
    /// # Safety
    /// The split is this block's.
    #[inline(always)]
    pub unsafe fn keys<const PIECES: usize, const QUAD_KEYS: usize>(&self) -> [[Group; PIECES]; QUAD_KEYS] {
        let count = QUAD_KEYS as u32 * 8;
        let from = thread::warp_id() * count;
        let mut keys = [[[0; 4]; PIECES]; QUAD_KEYS];
        // SAFETY: only live keys are read.
        unsafe {
            let rows = self.args.k_pool.addr + self.offset(from, count);
            unroll::<QUAD_KEYS>(
                #[inline(always)]
                |i| {
                    let key = quad_key(i);
                    if self.is_stored(from + key) {
                        let row = rows + u64::from(key * DIM * 2);
                        unroll::<PIECES>(|p| keys[i][p] = global::load_streaming(row::at(row, lane_group(p))));
                    }
                },
            );
        }
        keys
    }

    /// Takes a fresh key from shared memory, where it is the quad's, and stores it if that is the block's to do.
    ///
    /// # Safety
    /// The split is this block's; behind a barrier, the rows are there.
    #[inline(always)]
    pub unsafe fn add_key<const PIECES: usize, const QUAD_KEYS: usize>(&self, keys: &mut [[Group; PIECES]; QUAD_KEYS]) {
        let from = thread::warp_id() * QUAD_KEYS as u32 * 8;
        unroll::<QUAD_KEYS>(
            #[inline(always)]
            |i| {
                let key = from + quad_key(i);
                if self.is_fresh(key) {
                    // SAFETY: the key's row behind the queries, and in its page; this quad's alone.
                    unsafe {
                        let row = self.args.k_pool.addr + self.offset(key, 1);
                        unroll::<PIECES>(
                            #[inline(always)]
                            |p| {
                                let at = self.group * (DIM / row::GROUP) + lane_group(p);
                                keys[i][p] = self.rows.cast::<Group>().load(at);
                                if self.stores {
                                    global::store(row::at(row, lane_group(p)), keys[i][p]);
                                }
                            },
                        );
                    }
                }
            },
        );
    }

    /// The thread's group of the values of its keys, zeros where a key is not live; a fresh one is stored
    /// if that is the block's to do.
    ///
    /// # Safety
    /// The split is this block's.
    #[inline(always)]
    pub unsafe fn values<const VALUE_KEYS: usize>(&self) -> [Group; VALUE_KEYS] {
        let columns = DIM / row::GROUP;
        let (column, from) = value_share::<DIM, VALUE_KEYS>();
        // SAFETY: only live keys are read; threads behind the last key own none. A fresh key is one thread's in its column.
        unsafe {
            let rows = row::at(self.args.v_pool.addr, column) + self.offset(from, VALUE_KEYS as u32);
            let is_own = self.adds() && from <= self.fresh && self.fresh < from + VALUE_KEYS as u32;
            let head = self.args.heads + self.args.kv_heads + self.pages.kv_head;
            let fresh = row::at(self.qkv + u64::from(head * DIM * 2), column);
            let fresh: Group = if is_own { global::load(fresh) } else { [0; 4] };
            let values = array(
                #[inline(always)]
                |i| {
                    let key = from + i as u32;
                    if self.is_stored(key) {
                        global::load_streaming(row::at(rows, i as u32 * columns))
                    } else if is_own && key == self.fresh {
                        fresh
                    } else {
                        [0; 4]
                    }
                },
            );
            if is_own && self.stores {
                global::store(row::at(rows, (self.fresh - from) * columns), fresh);
            }
            values
        }
    }

    /// Index in `stats` of the split of query head `head`.
    #[inline(always)]
    pub fn at(&self, head: u32) -> u64 {
        self.index + u64::from(head) * u64::from(self.args.splits) + u64::from(self.start / SPLIT_TOKENS)
    }
}

/// Writes the zeros of a pad's heads, where the block is the first of one.
///
/// # Safety
/// The kernel's Requires hold; the block has no split.
#[inline(always)]
pub unsafe fn clear_pad<const DIM: u32>(args: &AttnDecode) {
    let (sequence, kv_head) = (thread::block_idx_z(), thread::block_idx_y());
    // SAFETY: the sequence exists; the heads are this block's.
    unsafe {
        let Some(row) = one_new_row(args.row_start, sequence) else { return };
        let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
        let Some(kv_heads) = NonZero::new(args.kv_heads) else { return };
        if length > 0 || thread::block_idx_x() > 0 {
            return;
        }
        let group = args.heads / kv_heads;
        let first = u64::from(row) * u64::from(args.heads) + u64::from(kv_head * group);
        let mut i = thread::thread_idx_x();
        while i < group * (DIM / row::GROUP) {
            global::store(row::at(args.out.addr + first * u64::from(DIM * 2), i), [0_u32; 4]);
            i += thread::block_dim_x();
        }
    }
}

/// The quad's `i`-th key among its warp's.
#[inline(always)]
pub fn quad_key(i: usize) -> u32 {
    i as u32 * 8 + thread::lane_id() / QUAD
}

/// The lane's `piece`-th group among a key's.
#[inline(always)]
pub fn lane_group(piece: usize) -> u32 {
    piece as u32 * QUAD + thread::lane_id() % QUAD
}

/// The thread's column of values, in groups, and the first of its keys; threads that have none are behind the last key.
#[inline(always)]
pub fn value_share<const DIM: u32, const VALUE_KEYS: usize>() -> (u32, u32) {
    let columns = DIM / row::GROUP;
    (thread::thread_idx_x() % columns, thread::thread_idx_x() / columns * VALUE_KEYS as u32)
}
