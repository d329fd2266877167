//! The entry point of `ssm_decode`.
use super::channels::{Channels, store_entry};
use super::heads::{Room, Token, ask_for_entries, ask_for_state, state_address};
use super::{SsmDecode, THREADS, state_rows, x_stride};
use crate::Ptr;
use crate::row::GROUP;
use crate::ssm::arithmetic::{dt_address, integer, number, step_width, store_sums};
use crate::ssm::{CHUNK, divide};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, cp_async, global, grid, kernel, math, thread, warp};

/// Lanes that share a row of S.
const LANES: u32 = 8;

kernel! {
    /// A head of a sequence to a block.
    pub fn ssm_decode(args: SsmDecode) {
        grid::launch_dependents();
        let sequence = thread::block_idx_y();
        // As loads of relaxed order they are asked for together, and not each behind the test of the one before.
        let word = |of: Ptr<i32>, at: u32| global::load_relaxed(of.addr + 4 * u64::from(at));
        let [slot, length] = [args.slots, args.lengths].map(|of| word(of, sequence));
        let [row, end] = [sequence, sequence + 1].map(|at| word(args.row_start, at));
        if end - row != 1 {
            return;
        }
        if (slot as i32) < 0 {
            return fill(&args, row);
        }
        let token = token(&args, row, slot, length - 1);
        let room = Room::new(&args);
        if token.front() > 0 {
            ask_for_state(&args, &token, &room, (0, state_rows(args.head_dim, args.state_size)));
        }
        ask_for_entries(&args, &token, &room);
        cp_async::commit();
        let channels = Channels::load(&args, &token);
        let rate = -math::exp(number(args.a_log, token.head));
        if thread::warp_id() == 0 {
            store_sums(widths(&args, &token), rate, room.widths, room.sums);
        }
        let [bias, skip] = [args.dt_bias, args.d].map(|of| number(of, token.head));
        grid::wait_for_dependencies();
        // Asked for together: one behind the other, each would be a round trip of the L2 cache.
        let inputs = channels.inputs(&args, &token);
        let dt: u16 = global::load(dt_address(args.zxbcdt, args.stride, &args.mixer(), (token.row, token.head)));
        channels.convolve(inputs, &args, &token, &room);
        let width = step_width(bf16::to_f32(dt) + bias, args.dt_min);
        cp_async::wait::<0>();
        sync_threads();
        store_entry(&args, &token, &room);
        store_place(&args, &token, width);
        let decay = weigh(&args, &token, &room, (width, rate));
        sync_threads();
        output(&args, &token, &room, [decay, skip]);
    }
}

/// Zeros for a pad.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn fill(args: &SsmDecode, row: u32) {
    grid::wait_for_dependencies();
    let group = thread::thread_idx_x();
    if group < args.head_dim / GROUP {
        let first = row * args.mixer().inner() + thread::block_idx_x() * args.head_dim;
        // SAFETY: the head's part of the row.
        unsafe { global::store(args.y.addr + 2 * u64::from(first + group * GROUP), [0_u32; 4]) };
    }
}

/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn token(args: &SsmDecode, row: u32, slot: u32, position: u32) -> Token {
    let head = thread::block_idx_x();
    let (group, within) = divide(head, args.mixer().sharing());
    let mut token = Token { row, slot, head, group, is_first_of_group: within == 0, position, folds: false };
    let chunk = position / CHUNK;
    if token.entry() == 0 && chunk > 0 {
        // SAFETY: the head's own word.
        token.folds = unsafe { integer(args.chunk, slot * args.heads + head) } == chunk as i32 - 1;
    }
    token
}

/// Δ of the ring's entries that this lane sums up.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn widths(args: &SsmDecode, token: &Token) -> [f32; 2] {
    [0, 1].map(|i| {
        let entry = 2 * thread::lane_id() + i;
        if entry >= token.entries() {
            return 0.0;
        }
        // SAFETY: an entry that an earlier step wrote.
        unsafe { number(args.ring_dt, (token.slot * CHUNK + entry) * args.heads + token.head) }
    })
}

/// Notes Δ of the token, and which chunk the state stands in front of.
///
/// # Safety
/// The kernel's Requires hold; the block has read what was there.
#[inline(always)]
unsafe fn store_place(args: &SsmDecode, token: &Token, width: f32) {
    if thread::thread_idx_x() == 0 {
        let entry = (token.slot * CHUNK + token.entry()) * args.heads + token.head;
        // SAFETY: words of the block's own.
        unsafe {
            global::store(args.ring_dt.addr + 4 * u64::from(entry), width);
            if token.entry() == 0 {
                let word = args.chunk.addr + 4 * u64::from(token.slot * args.heads + token.head);
                global::store(word, token.position / CHUNK);
            }
        }
    }
}

/// Leaves in shared memory what each entry counts in the output and, where the state goes on, there. The factor of S in the
/// output.
///
/// # Safety
/// The whole block comes here, behind a barrier that orders what is in shared memory.
#[inline(always)]
unsafe fn weigh(args: &SsmDecode, token: &Token, room: &Room, (width, rate): (f32, f32)) -> f32 {
    let entry = token.entry();
    // SAFETY: the caller's promise.
    unsafe {
        if token.folds && thread::thread_idx_x() < CHUNK {
            let (last, own) = (room.sums.load(CHUNK - 1), room.sums.load(thread::thread_idx_x()));
            let width = room.widths.load(thread::thread_idx_x());
            room.folded.store(thread::thread_idx_x(), math::exp(last - own) * width);
        }
        let before = if entry > 0 { room.sums.load(entry - 1) } else { 0.0 };
        let sum = math::fma(width, rate, before);
        // As many entries at once as a warp has groups of lanes; a warp's come to the sum together.
        let mut first = thread::warp_id() * (thread::WARP_SIZE / LANES);
        while first <= entry {
            let own = first + thread::lane_id() / LANES;
            // Behind the last, that once more, which nobody stores.
            let at = own.min(entry);
            let product = warp::reduce::<LANES, f32>(product_with_c(args, room, (at, entry)), |a, b| a + b);
            let factor = if at == entry { width } else { math::exp(sum - room.sums.load(at)) * room.widths.load(at) };
            if thread::lane_id().is_multiple_of(LANES) && own <= entry {
                room.weights.store(at, product * factor);
            }
            first += THREADS / LANES;
        }
        math::exp(sum)
    }
}

/// This lane's part of C·B of entry `at` of the ring, or of the token, which is entry `own`.
///
/// # Safety
/// The kernel's Requires hold; both are in shared memory.
#[inline(always)]
unsafe fn product_with_c(args: &SsmDecode, room: &Room, (at, own): (u32, u32)) -> f32 {
    let quads = args.state_size / 4;
    let of_token = room.token.offset(args.head_dim).cast::<[f32; 4]>();
    let (mut product, mut quad) = (0.0, thread::lane_id() % LANES);
    while quad < quads {
        // SAFETY: the caller's promise.
        let (b, c) = unsafe {
            let b = if at == own {
                of_token.load(quad)
            } else {
                let [low, high] = room.b.cast::<[u32; 2]>().load(at * quads + quad).map(bf16::unpack);
                [low[0], low[1], high[0], high[1]]
            };
            (b, of_token.load(quads + quad))
        };
        unroll::<4>(|i| product = math::fma(b[i], c[i], product));
        quad += LANES;
    }
    product
}

/// Stores the outputs, with the factors of S and of x itself.
///
/// # Safety
/// The whole block comes here, behind a barrier; rows from 0 on are in shared memory.
#[inline(always)]
unsafe fn output(args: &SsmDecode, token: &Token, room: &Room, factors: [f32; 2]) {
    let at_once = state_rows(args.head_dim, args.state_size);
    let mut first = 0;
    while first < args.head_dim {
        let rows = at_once.min(args.head_dim - first);
        // SAFETY: the loop is the same for the whole block; rows of S are read when they have landed.
        unsafe {
            if first > 0 && token.front() > 0 {
                sync_threads();
                ask_for_state(args, token, room, (first, rows));
                cp_async::commit();
                cp_async::wait::<0>();
                sync_threads();
            }
            if token.folds {
                if first > 0 && token.front() == 0 {
                    sync_threads();
                }
                fold(args, token, room, (first, rows));
                sync_threads();
            }
            rows_of_output(args, token, room, (first, rows), factors);
        }
        first += at_once;
    }
}

/// Brings rows of S on over the ring's whole chunk, in shared memory and where they are kept.
///
/// # Safety
/// As for [`output`]; nobody else touches the rows.
#[inline(always)]
unsafe fn fold(args: &SsmDecode, token: &Token, room: &Room, (first, rows): (u32, u32)) {
    let quads = args.state_size / 4;
    // SAFETY: the caller's promise; a thread owns every so many groups of four.
    unsafe {
        let decay = math::exp(room.sums.load(CHUNK - 1));
        let state = room.state.cast::<[f32; 4]>();
        let mut piece = thread::thread_idx_x();
        while piece < rows * quads {
            let (row, quad) = divide(piece, quads);
            let mut s = if token.front() > 0 { state.load(piece).map(|s| s * decay) } else { [0.0; 4] };
            let mut entry = 0;
            while entry < CHUNK {
                let x = bf16::to_f32(room.x.load(entry * x_stride(args.head_dim) + first + row));
                let x = x * room.folded.load(entry);
                let b = room.b.cast::<[u32; 2]>().load(entry * quads + quad);
                let ([b0, b1], [b2, b3]) = (bf16::unpack(b[0]), bf16::unpack(b[1]));
                s = [math::fma(x, b0, s[0]), math::fma(x, b1, s[1]), math::fma(x, b2, s[2]), math::fma(x, b3, s[3])];
                entry += 1;
            }
            state.store(piece, s);
            global::store(state_address(args, token, first) + 16 * u64::from(piece), s);
            piece += THREADS;
        }
    }
}

/// # Safety
/// As for [`output`]; the rows of S are in shared memory.
#[inline(always)]
unsafe fn rows_of_output(
    args: &SsmDecode,
    token: &Token,
    room: &Room,
    (first, rows): (u32, u32),
    [decay, skip]: [f32; 2],
) {
    let (quads, lane) = (args.state_size / 4, thread::thread_idx_x() % LANES);
    let entries = token.entry();
    let has_state = token.position >= CHUNK;
    // SAFETY: the caller's promise.
    unsafe {
        let c = room.token.offset(args.head_dim + args.state_size).cast::<[f32; 4]>();
        // Rows are whole warps'.
        let mut row = thread::thread_idx_x() / LANES;
        while row < rows {
            let mut sum = 0.0;
            let mut quad = lane;
            while has_state && quad < quads {
                let (s, c) = (room.state.cast::<[f32; 4]>().load(row * quads + quad), c.load(quad));
                sum = math::fma(s[3], c[3], math::fma(s[2], c[2], math::fma(s[1], c[1], math::fma(s[0], c[0], sum))));
                quad += LANES;
            }
            sum *= decay;
            let mut entry = lane;
            while entry < entries {
                let x = bf16::to_f32(room.x.load(entry * x_stride(args.head_dim) + first + row));
                sum = math::fma(room.weights.load(entry), x, sum);
                entry += LANES;
            }
            let sum = warp::reduce::<LANES, f32>(sum, |a, b| a + b);
            if lane == 0 {
                let x = room.token.load(first + row);
                let y = math::fma(room.weights.load(entries), x, math::fma(skip, x, sum));
                let at = token.row * args.mixer().inner() + token.head * args.head_dim + first + row;
                global::store(args.y.addr + 2 * u64::from(at), bf16::from_f32(y));
            }
            row += THREADS / LANES;
        }
    }
}
