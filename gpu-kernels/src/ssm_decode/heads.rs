//! What a block of `ssm_decode` works on, its place in shared memory, and what it asks for ahead.
use super::{SsmDecode, THREADS, state_rows, x_stride};
use crate::row::GROUP;
use crate::ssm::{CHUNK, divide};
use cuda_std::shared::{self, Shared};
use cuda_std::{cp_async, thread};

/// The token of a sequence, for a head.
pub struct Token {
    pub row: u32,
    pub slot: u32,
    pub head: u32,
    /// The head's group, and whether it is the first of that: its block stores what the group shares.
    pub group: u32,
    pub is_first_of_group: bool,
    pub position: u32,
    /// Whether the state has still to be brought on over the whole last chunk.
    pub folds: bool,
}

impl Token {
    /// Its entry of the ring.
    #[inline(always)]
    pub fn entry(&self) -> u32 {
        self.position % CHUNK
    }

    /// The chunk that the state stands in front of.
    #[inline(always)]
    pub fn front(&self) -> u32 {
        self.position / CHUNK - u32::from(self.folds)
    }

    /// Entries of that chunk that are in the ring.
    #[inline(always)]
    pub fn entries(&self) -> u32 {
        if self.folds { CHUNK } else { self.entry() }
    }
}

/// Shared memory.
pub struct Room {
    /// `[state_rows, state_size]`: some rows of S.
    pub state: Shared<f32>,
    /// `[CHUNK, state_size]`: B of the ring.
    pub b: Shared<u16>,
    /// `[CHUNK, x_stride]`: x of the ring.
    pub x: Shared<u16>,
    /// The token's x, B and C.
    pub token: Shared<f32>,
    /// `[CHUNK]`: Δ of the ring's entries.
    pub widths: Shared<f32>,
    /// `[CHUNK]`: their decays' exponents, summed up.
    pub sums: Shared<f32>,
    /// `[CHUNK]`: what x of an entry counts in the output.
    pub weights: Shared<f32>,
    /// `[CHUNK]`: what x ⊗ B of an entry counts in the next chunk's state.
    pub folded: Shared<f32>,
}

impl Room {
    #[inline(always)]
    pub fn new(args: &SsmDecode) -> Room {
        let (dim, size) = (args.head_dim, args.state_size);
        let state = shared::dynamic::<f32>();
        let b = state.offset(state_rows(dim, size) * size).cast::<u16>();
        let x = b.offset(CHUNK * size);
        let token = x.offset(CHUNK * x_stride(dim)).cast::<f32>();
        let widths = token.offset(dim + 2 * size);
        let [sums, weights, folded] = [1, 2, 3].map(|i| widths.offset(i * CHUNK));
        Room { state, b, x, token, widths, sums, weights, folded }
    }
}

/// Where row `row` of the head's state begins.
#[inline(always)]
pub fn state_address(args: &SsmDecode, token: &Token, row: u32) -> u64 {
    let row = u64::from(token.slot * args.heads + token.head) * u64::from(args.head_dim) + u64::from(row);
    args.state.addr + 4 * row * u64::from(args.state_size)
}

/// Asks for rows of S.
///
/// # Safety
/// The kernel's Requires hold; the rows are the head's, as many as shared memory has room for, and nobody reads what is
/// there.
#[inline(always)]
pub unsafe fn ask_for_state(args: &SsmDecode, token: &Token, room: &Room, (first, rows): (u32, u32)) {
    let from = state_address(args, token, first);
    let mut piece = thread::thread_idx_x();
    while piece < rows * args.state_size / 4 {
        // SAFETY: the caller's promise; rows are adjacent in both places.
        unsafe { cp_async::copy_16(room.state.address() + piece * 16, from + u64::from(piece) * 16) };
        piece += THREADS;
    }
}

/// Asks for the ring's entries of the chunk that the state stands in front of.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
pub unsafe fn ask_for_entries(args: &SsmDecode, token: &Token, room: &Room) {
    let (mixer, half) = (args.mixer(), token.front() % 2);
    // SAFETY: entries of the token's slot, that earlier steps wrote; each has its place in shared memory.
    unsafe {
        let (row, width) = ((2 * token.slot + half) * CHUNK, mixer.shared());
        let from = args.ring_b.addr + 2 * (u64::from(row) * u64::from(width));
        let from = from + 2 * u64::from(token.group * args.state_size);
        ask_for_rows(token.entries(), args.state_size, (from, width), (room.b, args.state_size));
        let (row, width) = (token.slot * CHUNK, mixer.inner());
        let from = args.ring_x.addr + 2 * (u64::from(row) * u64::from(width));
        let from = from + 2 * u64::from(token.head * args.head_dim);
        ask_for_rows(token.entries(), args.head_dim, (from, width), (room.x, x_stride(args.head_dim)));
    }
}

/// # Safety
/// The rows, of `width` elements each and `stride`s apart, are there in both places.
#[inline(always)]
unsafe fn ask_for_rows(rows: u32, width: u32, (from, from_stride): (u64, u32), (to, to_stride): (Shared<u16>, u32)) {
    let groups = width / GROUP;
    let mut piece = thread::thread_idx_x();
    while piece < rows * groups {
        let (row, rest) = divide(piece, groups);
        let column = rest * GROUP;
        let address = from + 2 * (u64::from(row) * u64::from(from_stride) + u64::from(column));
        // SAFETY: the caller's promise.
        unsafe { cp_async::copy_16(to.offset(row * to_stride + column).address(), address) };
        piece += THREADS;
    }
}
