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

/// A choice of this thread's.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The first choice of its group.
    leader: u32,
    /// How many of its group come before it.
    rank: u32,
    /// Its expert.
    id: u32,
    /// How many groups begin in the lanes before.
    led: u32,
}

/// Finds the groups; returns how many there are.
///
/// # Safety
/// The kernel's Requires hold; all 256 threads of the block call it together.
#[inline(always)]
pub unsafe fn find(args: &MoeGemv) -> u32 {
    let choices = args.choices();
    if args.rows == 1 && choices <= thread::block_dim_x() {
        // SAFETY: the caller's promise.
        return unsafe { of_one_row(args) };
    }
    // SAFETY: the caller's promise.
    unsafe { of_rows(args) }
}

/// The groups of any number of rows.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
pub unsafe fn of_rows(args: &MoeGemv) -> u32 {
    let choices = args.choices();
    // SAFETY: each thread writes the words of its own choices, and reads those of others behind a barrier.
    unsafe {
        load(args, choices);
        sync_threads();
        let mut places = [Place::default(); SHARES];
        unroll::<SHARES>(
            #[inline(always)]
            |share| places[share] = place(own(share), share, choices),
        );
        sync_threads();
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                let Place { leader, id, led, .. } = places[share];
                if own(share) < choices && leader == own(share) {
                    let group = before(share as u32 * 8 + thread::warp_id()) + led;
                    moe_ids().store(leader, group as u16);
                    moe_group_experts().store(group, id as u16);
                }
            },
        );
        sync_threads();
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                if own(share) < choices {
                    let group = u32::from(moe_ids().load(places[share].leader));
                    moe_members().store(group * GROUP + places[share].rank, own(share) as u16);
                }
            },
        );
        sync_threads();
        before(COUNTS)
    }
}

/// The groups of a lone row, whose choices, one to a thread at most, all differ: a choice each.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
unsafe fn of_one_row(args: &MoeGemv) -> u32 {
    let (choices, choice) = (args.choices(), thread::thread_idx_x());
    // SAFETY: each thread writes the words of its own choice, which are read behind the barrier.
    unsafe {
        if choice < choices {
            let id: u32 = global::load(args.ids.addr + 4 * u64::from(choice));
            moe_group_experts().store(choice, id as u16);
            let alone = [u32::from(NONE) << 16 | choice, u32::MAX, u32::MAX, u32::MAX];
            moe_members().cast::<[u32; 4]>().store(choice, alone);
        }
        sync_threads();
    }
    choices
}

/// The choice that this thread has in a share.
#[inline(always)]
fn own(share: usize) -> u32 {
    thread::thread_idx_x() + share as u32 * thread::block_dim_x()
}

/// Brings the experts of all choices to shared memory, and leaves no choice in the groups.
///
/// # Safety
/// As for [`find`].
#[inline(always)]
unsafe fn load(args: &MoeGemv, choices: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        unroll::<SHARES>(
            #[inline(always)]
            |share| {
                if own(share) < choices {
                    let id: u32 = global::load(args.ids.addr + 4 * u64::from(own(share)));
                    moe_ids().store(own(share), id as u16);
                }
            },
        );
        let mut word = thread::thread_idx_x();
        while word < choices * GROUP / 2 {
            moe_members().cast::<u32>().store(word, u32::MAX);
            word += thread::block_dim_x();
        }
    }
}

/// Where a choice stands in its group; counts the groups that begin in the warp.
///
/// # Safety
/// The whole warp comes here; the experts are written.
#[inline(always)]
unsafe fn place(choice: u32, share: usize, choices: u32) -> Place {
    let mut place = Place { leader: choice, rank: 0, id: u32::from(NONE), led: 0 };
    // SAFETY: the caller's promise.
    unsafe {
        if choice < choices {
            let id = moe_ids().load(choice);
            place.id = u32::from(id);
            for before in 0..choice {
                if moe_ids().load(before) == id {
                    place.leader = if place.rank % GROUP == 0 { before } else { place.leader };
                    place.rank += 1;
                }
            }
            place.rank %= GROUP;
            place.leader = if place.rank == 0 { choice } else { place.leader };
        }
        let leads = warp::ballot(choice < choices && place.rank == 0);
        if thread::lane_id() == 0 {
            moe_counts().store(share as u32 * 8 + thread::warp_id(), leads.count_ones());
        }
        place.led = (leads & lower_lanes()).count_ones();
    }
    place
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
