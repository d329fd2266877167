//! The token's convolution: the channels of a block's head, and of its group's B and C.
use super::heads::{Room, Token};
use super::{SsmDecode, THREADS};
use crate::ssm::arithmetic::convolved;
use crate::ssm::{CHUNK, Mixer, WINDOW};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, global, thread};

/// Most channels of a thread: of a head of 128 and twice a state of 256.
const MOST: usize = 3;

/// What the convolution takes and an earlier step has left: a thread's channels, every `THREADS`-th.
pub struct Channels {
    /// Their numbers among all: to work them out takes longer than to keep them.
    numbers: [u32; MOST],
    taps: [[u32; 2]; MOST],
    bias: [f32; MOST],
    older: [[f32; 3]; MOST],
}

/// The channels of a block.
#[inline(always)]
fn count(args: &SsmDecode) -> u32 {
    args.head_dim + 2 * args.state_size
}

/// The number of the block's channel `k` among all that are convolved.
#[inline(always)]
fn channel(mixer: &Mixer, token: &Token, k: u32) -> u32 {
    if k < mixer.head_dim {
        return token.head * mixer.head_dim + k;
    }
    let k = k - mixer.head_dim;
    let (part, within) = if k < mixer.state_size { (0, k) } else { (1, k - mixer.state_size) };
    mixer.inner() + part * mixer.shared() + token.group * mixer.state_size + within
}

/// The address of a channel in the window, at a position.
#[inline(always)]
fn window(args: &SsmDecode, token: &Token, position: u32, channel: u32) -> u64 {
    let entry = token.slot * WINDOW + position % WINDOW;
    args.window.addr + 2 * (u64::from(entry) * u64::from(args.mixer().conv_dim()) + u64::from(channel))
}

impl Channels {
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn load(args: &SsmDecode, token: &Token) -> Channels {
        let mixer = args.mixer();
        let mut loaded =
            Channels { numbers: [0; MOST], taps: [[0; 2]; MOST], bias: [0.0; MOST], older: [[0.0; 3]; MOST] };
        unroll::<MOST>(
            #[inline(always)]
            |i| {
                let k = thread::thread_idx_x() + i as u32 * THREADS;
                if k < count(args) {
                    let channel = channel(&mixer, token, k);
                    loaded.numbers[i] = channel;
                    // SAFETY: a channel of the mixer; the window holds the three positions before the token's.
                    unsafe {
                        loaded.taps[i] = global::load(args.conv_weight.addr + 8 * u64::from(channel));
                        loaded.bias[i] = bf16::to_f32(global::load(args.conv_bias.addr + 2 * u64::from(channel)));
                        unroll::<3>(
                            #[inline(always)]
                            |tap| {
                                let back = 3 - tap as u32;
                                if token.position >= back {
                                    let address = window(args, token, token.position - back, channel);
                                    loaded.older[i][tap] = bf16::to_f32(global::load(address));
                                }
                            },
                        );
                    }
                }
            },
        );
        loaded
    }

    /// The token's inputs of the thread's channels.
    ///
    /// # Safety
    /// The kernel's Requires hold, and the kernel in front has ended.
    #[inline(always)]
    pub unsafe fn inputs(&self, args: &SsmDecode, token: &Token) -> [u16; MOST] {
        let first = u64::from(token.row) * u64::from(args.stride) + u64::from(args.mixer().inner());
        let first = args.zxbcdt.addr + 2 * first;
        array(
            #[inline(always)]
            |i| {
                let k = thread::thread_idx_x() + i as u32 * THREADS;
                if k >= count(args) {
                    return 0;
                }
                // SAFETY: a channel of the row.
                unsafe { global::load(first + 2 * u64::from(self.numbers[i])) }
            },
        )
    }

    /// Leaves the token's x, B and C in shared memory, and its inputs in the window.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn convolve(self, inputs: [u16; MOST], args: &SsmDecode, token: &Token, room: &Room) {
        unroll::<MOST>(
            #[inline(always)]
            |i| {
                let k = thread::thread_idx_x() + i as u32 * THREADS;
                if k < count(args) {
                    let [a, b, c] = self.older[i];
                    let value = convolved(self.taps[i], self.bias[i], [a, b, c, bf16::to_f32(inputs[i])]);
                    // SAFETY: one block owns the channel in the window.
                    unsafe {
                        room.token.store(k, bf16::round(value));
                        if k < args.head_dim || token.is_first_of_group {
                            global::store(window(args, token, token.position, self.numbers[i]), inputs[i]);
                        }
                    }
                }
            },
        );
    }
}

/// Makes the token's x and B an entry of the ring.
///
/// # Safety
/// The kernel's Requires hold; the block has its x and B in shared memory, and has read the entry that was there.
#[inline(always)]
pub unsafe fn store_entry(args: &SsmDecode, token: &Token, room: &Room) {
    let mixer = args.mixer();
    let own = if token.is_first_of_group { args.head_dim + args.state_size } else { args.head_dim };
    let entry = u64::from(token.slot * CHUNK + token.position % CHUNK);
    let entry_b = u64::from(token.slot * 2 * CHUNK + token.position % (2 * CHUNK));
    let mut k = thread::thread_idx_x();
    while k < own {
        let address = if k < args.head_dim {
            args.ring_x.addr + 2 * (entry * u64::from(mixer.inner()) + u64::from(token.head * args.head_dim + k))
        } else {
            let within = token.group * args.state_size + k - args.head_dim;
            args.ring_b.addr + 2 * (entry_b * u64::from(mixer.shared()) + u64::from(within))
        };
        // SAFETY: an element of the ring that this block owns; the value is a bf16's.
        unsafe { global::store(address, bf16::from_f32(room.token.load(k))) };
        k += THREADS;
    }
}
