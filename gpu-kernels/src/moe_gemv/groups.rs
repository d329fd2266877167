//! The groups of `moe_gemv`: choices of one expert, eight at most, in the order of the rows.
use super::{GROUP, MAX_CHOICES, MoeGemv};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{global, shared, thread, warp};

/// Choices of a thread.
const SHARES: usize = MAX_CHOICES.div_ceil(256) as usize;
/// Warps that have choices, with all threads' shares.
const COUNTS: u32 = SHARES as u32 * 8;
/// No choice.
const NONE: u16 = u16::MAX;

shared! {
    // The expert of each choice; later, of the first of a group, the group's number.
    fn moe_ids() -> [u16; MAX_CHOICES as usize];
    fn moe_group_experts() -> [u16; MAX_CHOICES as usize];
    fn moe_members() -> [u16; (MAX_CHOICES * GROUP) as usize];
    fn moe_counts() -> [u32; COUNTS as usize];
}

/// Finds the groups; returns how many there are.
///
/// # Safety
/// The kernel's Requires hold; all 256 threads of the block call it together.
#[inline(always)]
pub unsafe fn find(args: &MoeGemv) -> u32 {
    let (ids, experts, members, counts) = (moe_ids(), moe_group_experts(), moe_members(), moe_counts());
    let choices = args.choices();
    let own = |share: usize| thread::thread_idx_x() + share as u32 * thread::block_dim_x();
    // SAFETY: each thread writes the words of its own choices, and reads those of others behind a barrier.
    unsafe {
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                if own(share) < choices {
                    let id: u32 = global::load(args.ids.addr + 4 * u64::from(own(share)));
                    ids.store(own(share), id as u16);
                }
            },
        );
        let mut word = thread::thread_idx_x();
        while word < choices * GROUP / 2 {
            members.cast::<u32>().store(word, u32::MAX);
            word += thread::block_dim_x();
        }
        sync_threads();
        // Before a choice: the first of its group, and how many of its group come before it.
        let mut places = [(0, 0, 0); SHARES];
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                let choice = own(share);
                let (mut leader, mut rank, mut id) = (choice, 0, NONE);
                if choice < choices {
                    id = ids.load(choice);
                    for before in 0..choice {
                        if ids.load(before) == id {
                            leader = if rank % GROUP == 0 { before } else { leader };
                            rank += 1;
                        }
                    }
                    leader = if rank % GROUP == 0 { choice } else { leader };
                }
                let leads = warp::ballot(choice < choices && rank % GROUP == 0);
                if thread::lane_id() == 0 {
                    counts.store(share as u32 * 8 + thread::warp_id(), leads.count_ones());
                }
                places[share] = (leader, rank % GROUP, u32::from(id) | (leads & lower_lanes()).count_ones() << 16);
            },
        );
        sync_threads();
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                let (leader, _, packed) = places[share];
                if own(share) < choices && leader == own(share) {
                    let group = before(share as u32 * 8 + thread::warp_id()) + (packed >> 16);
                    ids.store(leader, group as u16);
                    experts.store(group, packed as u16);
                }
            },
        );
        sync_threads();
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                let (leader, rank, _) = places[share];
                if own(share) < choices {
                    members.store(u32::from(ids.load(leader)) * GROUP + rank, own(share) as u16);
                }
            },
        );
        sync_threads();
        before(COUNTS)
    }
}

/// The lanes below this one.
#[inline(always)]
fn lower_lanes() -> u32 {
    (1 << thread::lane_id()) - 1
}

/// How many groups begin in the shares of warps before `end`.
///
/// # Safety
/// The counts are written.
#[inline(always)]
unsafe fn before(end: u32) -> u32 {
    let mut groups = 0;
    for warp in 0..end {
        // SAFETY: the caller's promise.
        groups += unsafe { moe_counts().load(warp) };
    }
    groups
}

/// The expert of a group.
///
/// # Safety
/// The group exists.
#[inline(always)]
pub unsafe fn expert(group: u32) -> u32 {
    // SAFETY: the caller's promise.
    u32::from(unsafe { moe_group_experts().load(group) })
}

/// The choice of place `place` in a group, if there is one.
///
/// # Safety
/// The group exists; `place` is below 8.
#[inline(always)]
pub unsafe fn member(group: u32, place: u32) -> Option<u32> {
    // SAFETY: the caller's promise.
    let choice = unsafe { moe_members().load(group * GROUP + place) };
    (choice != NONE).then_some(u32::from(choice))
}
