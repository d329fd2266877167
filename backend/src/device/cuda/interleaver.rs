//! `Interleaver`: makes rows of NVFP4 on the GPU of codes and scales that were copied apart, while the next ones are copied.
use cust::event::{Event, EventFlags};
use cust::memory::DeviceBuffer;
use cust::stream::{Stream, StreamFlags, StreamWaitEventFlags};
use gpu_kernels::{DeviceInfo, Nvfp4Rows, Ptr};

use super::failure::Answer;
use super::launch::KernelLaunch;
use super::module::Kernels;
use crate::error::{Result, size};

/// Slots that pieces are copied to in turn: fewer of them are under way at a time.
pub const SLOTS: usize = 6;
/// Slots begin at multiples of this.
const ALIGNMENT: usize = 256;

/// Launches `nvfp4_rows` on a stream of its own: so copies and kernels run beside each other.
pub struct Interleaver<'a> {
    kernels: &'a mut Kernels,
    info: &'a DeviceInfo,
    stream: Stream,
    /// Where pieces are copied to that come apart, from the first one on, and the bytes of each.
    slots: Option<(DeviceBuffer<u8>, usize)>,
    taken: usize,
}

impl<'a> Interleaver<'a> {
    /// Nothing is allocated, and no kernel compiled, before there is a piece.
    ///
    /// # Errors
    /// The driver has no stream.
    pub fn new(kernels: &'a mut Kernels, info: &'a DeviceInfo) -> Result<Interleaver<'a>> {
        let stream = Stream::new(StreamFlags::NON_BLOCKING, None).or_failed("creating a stream")?;
        Ok(Interleaver { kernels, info, stream, slots: None, taken: 0 })
    }

    /// The next of [`SLOTS`] slots, in turn: whoever takes one has seen that the rows of what stood in it are made. `most` is the bytes of
    /// the longest piece, the same in every call.
    ///
    /// # Errors
    /// The GPU has no memory for them.
    pub fn slot(&mut self, most: usize) -> Result<u64> {
        if self.slots.is_none() {
            let bytes = most.next_multiple_of(ALIGNMENT);
            let doing = || format!("allocating {} for codes and scales of NVFP4", size((SLOTS * bytes) as u64));
            // SAFETY: a slot is read where a copy has written it.
            let slots = unsafe { DeviceBuffer::uninitialized(SLOTS * bytes) }.or_failed(doing())?;
            self.slots = Some((slots, bytes));
        }
        let (slots, bytes) = self.slots.as_ref().expect("they were allocated");
        let slot = self.taken % SLOTS;
        self.taken += 1;
        Ok(slots.as_device_ptr().as_raw() + (slot * bytes) as u64)
    }

    /// Makes rows of so many columns from `address` on, of their codes and then their scales in `slot`, behind `copied`, an event of
    /// another stream; gives the one behind the rows.
    ///
    /// # Errors
    /// The driver refuses the kernel.
    pub fn interleave(&mut self, slot: u64, [rows, columns]: [usize; 2], address: u64, copied: Event) -> Result<Event> {
        let (codes, scales, y) = (Ptr::new(0, 0), Ptr::new(0, (rows * columns / 2) as u64), Ptr::new(1, 0));
        let kernel = Nvfp4Rows { codes, scales, y, rows: rows as u32, k: columns as u32 };
        let mut place = |buffer, offset, _| [slot, address][buffer as usize] + offset;
        let launch = KernelLaunch::plain(&kernel, self.kernels, self.info, &mut place)?;
        self.stream.wait_event(copied, StreamWaitEventFlags::DEFAULT).or_failed("waiting for a copy")?;
        launch.enqueue(&self.stream)?;
        recorded(&self.stream)
    }

    /// Waits until all rows are made.
    ///
    /// # Errors
    /// A kernel failed.
    pub fn finish(&self) -> Result<()> {
        self.stream.synchronize().or_failed("finishing the upload")
    }
}

/// An event behind what is in a stream.
///
/// # Errors
/// The driver has none.
pub fn recorded(stream: &Stream) -> Result<Event> {
    let event = Event::new(EventFlags::DISABLE_TIMING).or_failed("creating an event")?;
    event.record(stream).or_failed("recording an event")?;
    Ok(event)
}

impl Drop for Interleaver<'_> {
    /// Slots are not freed while a kernel reads them.
    fn drop(&mut self) {
        let _ = self.stream.synchronize();
    }
}
