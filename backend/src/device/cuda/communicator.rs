//! `Communicator`: GPUs that meet in each other's memory or in the host's, and what they share for that: arenas, flags, packets and
//! words of the host.
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use cust::context::{Context, CurrentContext};
use cust::memory::DeviceBuffer;
use cust::stream::{Stream, StreamFlags};
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting};
use gpu_kernels::{Element, Ptr, Role};

use super::arena::Arena;
use super::failure::Answer;
use super::gpu::Gpu;
use super::host_words::HostWords;
use super::met_words::{MetWords, copy};
use super::rank::Rank;
use super::reach::MetIn;
use super::{Cuda, Options};
use crate::device::Seat;
use crate::error::{Category, Error, Result};

/// Words of a rank that are sent as packets at most.
const PACKED: u32 = 1 << 18;
/// Words of a rank's flags, behind which its epochs stand.
const FLAGS: usize = BLOCKS as usize * MOST_RANKS;
/// Words of a rank's flags and epochs.
pub const COUNTERS: usize = FLAGS + BLOCKS as usize;

/// Number of the first buffer that is none of this rank's arena: what a [`Meeting`] points to, then the buffers of all ranks' arenas.
const FIRST: u32 = 1 << 23;
/// From the buffers of a rank to those of the next one.
const APART: u32 = 1 << 19;

/// Bytes of the packets of so many ranks: in the memory of each, or once in the host's.
pub fn packet_bytes(ranks: usize) -> u64 {
    4 * packet_words(ranks) as u64
}

/// Of `[2, ranks, 2, PACKED / 4, 2, 2]` packets.
fn packet_words(ranks: usize) -> usize {
    4 * ranks * PACKED as usize
}

/// What the ranks of one process share. It outlives all that they have enqueued.
pub struct Communicator {
    /// The first tells all GPUs to give up; behind it stands a rank's fault each.
    words: HostWords,
    met: MetIn,
    members: Vec<Member>,
}

/// What a rank has for the others.
struct Member {
    ordinal: u32,
    /// `[2, ranks, 2, PACKED / 4, 2, 2]`; in the host's memory those of all ranks.
    packets: Arc<MetWords>,
    /// `[32, 8]`.
    flags: MetWords,
    /// `[32]`: for its own kernels.
    epochs: DeviceBuffer<i32>,
    /// Its buffers, once they are allocated.
    arena: OnceLock<Arc<Arena>>,
    /// Where its GPU finds the words of the host.
    words: u64,
    /// Copies counters while kernels wait.
    watch: Stream,
    context: Context,
}

impl Cuda {
    /// Opens GPUs that hold a model together: the r-th becomes rank r. One may be several ranks, for tests: slowly, since what these
    /// enqueue runs side by side.
    ///
    /// # Errors
    /// As of [`Cuda::open`]; two of them differ, or do not reach each other's memory and are to meet there, or there are too many.
    pub fn open_ranks(ordinals: &[u32], options: Options) -> Result<Vec<Cuda>> {
        let gpus = ordinals.iter().map(|ordinal| Gpu::new(*ordinal)).collect::<Result<Vec<_>>>()?;
        check(&gpus)?;
        let met = MetIn::of(options.collectives, &gpus)?;
        let opened = std::thread::scope(|scope| {
            let open = |ordinal: &u32| {
                let ordinal = *ordinal;
                scope.spawn(move || Cuda::open(ordinal, options))
            };
            let threads: Vec<_> = ordinals.iter().map(open).collect();
            let join = |thread: std::thread::ScopedJoinHandle<Result<Cuda>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        });
        let mut opened = opened?;
        connect(&mut opened, met)?;
        Ok(opened)
    }
}

/// Whether these GPUs can be ranks of one model.
fn check(gpus: &[Gpu]) -> Result<()> {
    if gpus.len() > MOST_RANKS {
        return Err(Error::new(Category::Device, "Too many GPUs for one model")
            .details(format_args!("expected at most {MOST_RANKS}, found {}", gpus.len()))
            .hint("name fewer with --devices or --tensor-parallel"));
    }
    for (a, b) in gpus.iter().flat_map(|a| gpus.iter().map(move |b| (a, b))).filter(|(a, b)| a.ordinal != b.ordinal) {
        if (&a.name, a.info) != (&b.name, b.info) {
            return Err(Error::new(Category::Device, "The GPUs of a model differ")
                .details(format_args!("GPU {} is {}, GPU {} is {}", a.ordinal, a.name, b.ordinal, b.name))
                .hint("name equal GPUs with --devices: what each rank computes for itself must come out the same"));
        }
    }
    Ok(())
}

/// Makes ranks of opened GPUs.
fn connect(devices: &mut [Cuda], met: MetIn) -> Result<()> {
    for device in devices.iter() {
        device.make_current()?;
        let mut others = devices.iter().filter(|peer| met == MetIn::Peers && peer.gpu.ordinal != device.gpu.ordinal);
        others.try_for_each(|peer| enable(device, peer))?;
    }
    // In the context of the last one: memory of the host belongs to any.
    let words = HostWords::new(1 + devices.len())?;
    let mut members: Vec<Member> = Vec::new();
    for device in devices.iter() {
        device.make_current()?;
        let packets = match (met, members.first()) {
            (MetIn::Host(_), Some(first)) => first.packets.clone(),
            _ => Arc::new(MetWords::new(packet_words(devices.len()), met)?),
        };
        members.push(Member::new(device, packets, words.address()?, met)?);
    }
    let communicator = Arc::new(Communicator { words, met, members });
    let seats = Seat::of_ranks(devices.len());
    let repeats =
        |device: &Cuda, all: &[Cuda]| all.iter().filter(|other| other.gpu.ordinal == device.gpu.ordinal).count() > 1;
    let shared: Vec<bool> = devices.iter().map(|device| repeats(device, devices)).collect();
    for (number, (device, seat)) in devices.iter_mut().zip(seats).enumerate() {
        device.make_current()?;
        if shared[number] {
            // Kernels that started early would keep the GPU from the rank that they wait for.
            device.overlap = false;
        }
        device.rank = Some(Rank::new(number, seat, communicator.clone(), device.options.rank_timeout)?);
    }
    Ok(())
}

/// Lets the current context, that of `device`, use the memory of `peer`.
fn enable(device: &Cuda, peer: &Cuda) -> Result<()> {
    // SAFETY: both contexts are alive.
    match unsafe { cust_raw::cuCtxEnablePeerAccess(peer.context.as_raw(), 0) } {
        cust_raw::CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(()),
        answer => answer
            .or_failed(format_args!("letting GPU {} read the memory of GPU {}", device.gpu.ordinal, peer.gpu.ordinal)),
    }
}

impl Member {
    /// What `device`, whose context is current, has.
    fn new(device: &Cuda, packets: Arc<MetWords>, words: u64, met: MetIn) -> Result<Member> {
        Ok(Member {
            ordinal: device.gpu.ordinal,
            packets,
            flags: MetWords::new(FLAGS, met)?,
            epochs: DeviceBuffer::zeroed(BLOCKS as usize).or_failed("allocating what ranks meet in")?,
            arena: OnceLock::new(),
            words,
            watch: Stream::new(StreamFlags::NON_BLOCKING, None).or_failed("creating a stream")?,
            context: device.context.clone(),
        })
    }

    /// Reads the flags and epochs of `other` into as many words, in this member's context.
    fn read_counters(&self, other: &Member, to: &HostWords) -> Result<()> {
        CurrentContext::set_current(&self.context).or_failed("entering the context")?;
        let (flags, epochs) = to.words().split_at(FLAGS);
        other.flags.read(flags, &self.watch)?;
        copy(&other.epochs, epochs, &self.watch)?;
        self.watch.synchronize().or_failed("looking at a rank's counters")
    }
}

impl Drop for Member {
    /// For the buffers, which are dropped next.
    fn drop(&mut self) {
        let _ = CurrentContext::set_current(&self.context);
    }
}

impl Drop for Communicator {
    /// For the words; and the first member, in whose context packets of the host were made, goes last.
    fn drop(&mut self) {
        let _ = self.members.first().map(|member| CurrentContext::set_current(&member.context));
        self.members.reverse();
    }
}

impl Communicator {
    /// Tells all GPUs to wait for nobody any more.
    pub fn abort(&self) {
        self.words.words()[0].store(1, Ordering::SeqCst);
    }

    /// Whether they are told so.
    pub fn is_aborted(&self) -> bool {
        self.words.words()[0].load(Ordering::SeqCst) != 0
    }

    /// The rank that `rank` waited for when it gave up.
    pub fn given_up(&self, rank: usize) -> Option<usize> {
        usize::try_from(self.words.words()[1 + rank].load(Ordering::SeqCst) - 1).ok()
    }

    /// The GPU of a rank.
    pub fn ordinal(&self, rank: usize) -> u32 {
        self.members[rank].ordinal
    }

    /// In whose memory they meet.
    pub fn met(&self) -> MetIn {
        self.met
    }

    /// Whether kernels of a rank reach the others' arenas.
    pub fn has_peers(&self) -> bool {
        self.met == MetIn::Peers
    }

    /// The flags and epochs of a rank as they are now, for `by`, whose context stays current; they come by way of [`COUNTERS`] pinned words.
    ///
    /// # Errors
    /// The rank's GPU failed.
    pub fn counters(&self, rank: usize, by: usize, seen: &HostWords) -> Result<Vec<i32>> {
        // In the other's context where the GPU of this one does not reach that memory; else its thread may be busy there.
        let reader = if self.has_peers() { by } else { rank };
        let read = self.members[reader].read_counters(&self.members[rank], seen);
        CurrentContext::set_current(&self.members[by].context).or_failed("entering the context")?;
        read.map(|()| seen.words().iter().map(|word| word.load(Ordering::Relaxed)).collect())
    }

    /// What a kernel of `rank` is told; its pointers are those that [`Communicator::address`] knows.
    pub fn meeting(&self, rank: usize) -> Meeting {
        let ranks = self.members.len();
        let of_ranks = |kind: u32, r: usize| FIRST + kind * MOST_RANKS as u32 + r as u32;
        let mut meeting = Meeting {
            flags: [Ptr::NULL; MOST_RANKS],
            packets: [Ptr::NULL; MOST_RANKS],
            epochs: Ptr::new(of_ranks(3, rank), 0),
            abort: Ptr::new(of_ranks(1, rank), 0),
            fault: Ptr::new(of_ranks(1, rank), 1 + rank as u64),
            rank: rank as u32,
            ranks: ranks as u32,
            packed: PACKED,
        };
        for r in 0..ranks {
            meeting.flags[r] = Ptr::new(of_ranks(0, r), 0);
            meeting.packets[r] = Ptr::new(of_ranks(2, r), 0);
        }
        meeting
    }

    /// Lets the kernels of all ranks reach the buffers of `rank`.
    ///
    /// # Errors
    /// The rank has allocated already: the others would go on with what it had then.
    pub fn share(&self, rank: usize, arena: Arc<Arena>) -> Result<()> {
        self.members[rank].arena.set(arena).map_err(|_| {
            Error::new(Category::Internal, "A rank allocates twice")
                .details(format_args!("rank {rank} on GPU {}", self.ordinal(rank)))
                .hint("report this with the command and the model: it is a fault of the program")
        })
    }

    /// The same place in the arenas of all ranks; null beyond the last.
    ///
    /// # Panics
    /// If they do not meet in each other's memory.
    pub fn of_ranks<R: Role>(&self, place: Ptr<R>) -> [Ptr<R>; MOST_RANKS] {
        assert_eq!(self.met, MetIn::Peers, "the ranks reach each other's arenas");
        let mut places = [Ptr::NULL; MOST_RANKS];
        if let Some((buffer, offset)) = place.target() {
            let ranks = places.iter_mut().enumerate().take(self.members.len());
            ranks.for_each(|(r, place)| *place = Ptr::new(FIRST + (1 + r as u32) * APART + buffer, offset));
        }
        places
    }

    /// Address of element `offset` of a buffer of a [`Meeting`] or of [`Communicator::of_ranks`]; none for one of a rank's own arena.
    ///
    /// # Panics
    /// If a rank that has not allocated its buffers is asked for one.
    pub fn address(&self, buffer: u32, offset: u64, element: Element) -> Option<u64> {
        let index = buffer.checked_sub(FIRST)?;
        if index >= APART {
            let arena = self.members[(index / APART) as usize - 1].arena.get().expect("all ranks have allocated");
            return Some(arena.address(index % APART, offset, element));
        }
        let member = &self.members[index as usize % MOST_RANKS];
        let start = match index as usize / MOST_RANKS {
            0 => member.flags.address(),
            1 => member.words,
            2 => member.packets.address(),
            _ => member.epochs.as_device_ptr().as_raw(),
        };
        Some(start + 4 * offset)
    }
}

/// Who has not come to the meeting that each block of `rank` is in, of so many ranks: by its flags and epochs.
pub fn late(counters: &[i32], rank: usize, ranks: usize) -> Option<usize> {
    let (flags, epochs) = counters.split_at(FLAGS);
    let begun = |(block, epoch): (usize, &i32)| {
        let row = &flags[block * MOST_RANKS..][..ranks];
        // Its own word says that it has begun the next one.
        let waits = row[rank] == epoch.wrapping_add(1);
        (0..ranks).find(|other| waits && row[*other].wrapping_sub(epoch.wrapping_add(1)) < 0)
    };
    epochs.iter().enumerate().find_map(begun)
}

/// Who has left the meeting that a block of `rank` is in, of ranks with these flags and epochs: it waits for what they will not send.
pub fn left(counters: &[Vec<i32>], rank: usize) -> Option<usize> {
    let (flags, epochs) = counters[rank].split_at(FLAGS);
    let left = |(block, epoch): (usize, &i32)| {
        let waits = flags[block * MOST_RANKS + rank] == epoch.wrapping_add(1);
        let has_ended = |other: &usize| counters[*other][FLAGS + block].wrapping_sub(*epoch) > 0;
        (0..counters.len()).filter(|other| waits && *other != rank).find(has_ended)
    };
    epochs.iter().enumerate().find_map(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags and epochs of a rank that has ended `ended` meetings.
    fn counters(ended: i32, flags: &[i32]) -> Vec<i32> {
        let mut words = vec![0; COUNTERS];
        words[..FLAGS].chunks_mut(MOST_RANKS).for_each(|row| row[..flags.len()].copy_from_slice(flags));
        words[FLAGS..].fill(ended);
        words
    }

    #[test]
    fn who_is_late_is_known() {
        assert_eq!(late(&counters(4, &[5, 5, 4]), 0, 3), Some(2));
        assert_eq!(late(&counters(4, &[4, 5, 5]), 1, 3), Some(0));
        assert_eq!(late(&counters(4, &[5, 6]), 0, 2), None, "a rank may be ahead");
        assert_eq!(late(&counters(4, &[4, 4]), 0, 2), None, "it does not wait");
        assert_eq!(late(&counters(i32::MAX, &[i32::MIN, i32::MAX]), 0, 2), Some(1), "epochs wrap around");
    }

    #[test]
    fn who_has_left_is_known() {
        let of_two = |own: Vec<i32>, other: i32| left(&[own, counters(other, &[0, other])], 0);
        assert_eq!(of_two(counters(4, &[5, 5]), 5), Some(1));
        assert_eq!(of_two(counters(4, &[5, 6]), 4), None, "it is in the meeting");
        assert_eq!(of_two(counters(4, &[4, 5]), 5), None, "this rank does not wait");
        assert_eq!(of_two(counters(i32::MAX, &[i32::MIN, i32::MIN]), i32::MIN), Some(1), "epochs wrap around");
    }
}
