//! Pinned memory between host and device: the inputs of two runs on their way in, the tokens of two on their way out.
use cust::event::{Event, EventFlags};
use cust::memory::LockedBuffer;
use cust::stream::Stream;
use gpu_kernels::{Element, Ptr, Publish};

use super::arena::{ALIGNMENT, Arena, Place, Use};
use super::failure::{Answer, failed};
use super::lane::{Lane, wait_for};
use super::program::{PrepareContext, Prepared, Publishing, TURNS};
use super::rank::Rank;
use crate::device::{Inputs, Ticket};
use crate::error::Result;

/// How many runs the host may be ahead of the device, and how many tickets are kept.
const RUNS: usize = TURNS;

/// A pinned area and the event behind what used it last.
struct Area {
    pinned: LockedBuffer<i32>,
    copied: Event,
}

impl Area {
    fn new(elements: u64) -> Result<Area> {
        let pinned = LockedBuffer::new(&0, elements.max(1) as usize).or_failed("allocating pinned memory")?;
        Ok(Area { pinned, copied: Event::new(EventFlags::DISABLE_TIMING).or_failed("creating an event")? })
    }

    /// Where the device finds it.
    fn address(&mut self) -> Result<u64> {
        let mut address = 0;
        // SAFETY: the memory is pinned, and `address` is writable.
        unsafe { cust_raw::cuMemHostGetDevicePointer_v2(&mut address, self.pinned.as_mut_ptr().cast(), 0) }
            .or_failed("mapping pinned memory")?;
        Ok(address)
    }
}

fn areas(elements: u64) -> Result<Vec<Area>> {
    (0..RUNS).map(|_| Area::new(elements)).collect()
}

/// Neighbouring inputs that one copy writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    address: u64,
    /// First element in the pinned area.
    first: usize,
    elements: usize,
}

/// The way in.
pub struct InputStaging {
    areas: Vec<Area>,
    runs: usize,
}

impl InputStaging {
    /// Room for all inputs of `arena`.
    ///
    /// # Errors
    /// Pinned memory is short.
    pub fn new(arena: &Arena) -> Result<InputStaging> {
        let padded = arena.used_as(Use::Input).map(|place| place.bytes.next_multiple_of(ALIGNMENT));
        Ok(InputStaging { areas: areas(padded.sum::<u64>() / 4)?, runs: 0 })
    }

    /// Enqueues the copies of `inputs`; the slices may change as soon as this returns.
    ///
    /// # Errors
    /// An input is no input or too long, or the device failed.
    pub fn enqueue(&mut self, inputs: &Inputs, arena: &Arena, lane: Lane) -> Result<()> {
        if inputs.is_empty() {
            return Ok(());
        }
        let area = &mut self.areas[self.runs % RUNS];
        self.runs += 1;
        wait_for(&area.copied, lane.rank)?;
        for span in pack(inputs, arena, area.pinned.as_mut_slice())? {
            let values = &area.pinned[span.first..][..span.elements];
            // SAFETY: the span lies in input buffers, and the area is not written again before the event behind the copy.
            unsafe {
                cust_raw::cuMemcpyHtoDAsync_v2(
                    span.address,
                    values.as_ptr().cast(),
                    values.len() * 4,
                    lane.stream.as_inner(),
                )
            }
            .or_failed("copying inputs to the GPU")?;
        }
        area.copied.record(lane.stream).or_failed("recording an event")
    }
}

/// Lays the inputs into `pinned`, those that touch on the device behind each other, the padding between them included.
fn pack(inputs: &Inputs, arena: &Arena, pinned: &mut [i32]) -> Result<Vec<Span>> {
    let mut located = Vec::new();
    for (pointer, values) in inputs {
        let (buffer, offset) = pointer.target().expect("an input is no null pointer");
        let place = arena.place(buffer);
        let address = arena.address(buffer, offset, Element::I32);
        if place.used_as != Use::Input || address + values.len() as u64 * 4 > place.end() {
            return Err(failed("writing inputs", format!("{} numbers do not fit into `{}`", values.len(), place.name)));
        }
        located.push((address, *values, place));
    }
    located.sort_by_key(|(address, ..)| *address);
    let mut spans: Vec<Span> = Vec::new();
    let mut used = 0;
    for (address, values, place) in located {
        let padding = spans.last().and_then(|span| padding(span, address, arena));
        let first = used + padding.unwrap_or(0);
        let end = first + values.len();
        if end > pinned.len() {
            return Err(failed("writing inputs", format!("`{}` is given twice", place.name)));
        }
        pinned[first..end].copy_from_slice(values);
        match spans.last_mut().filter(|_| padding.is_some()) {
            Some(span) => span.elements = end - span.first,
            None => spans.push(Span { address, first, elements: values.len() }),
        }
        used = end;
    }
    Ok(spans)
}

/// Elements between a span's end and `address` where nothing but padding lies there.
fn padding(span: &Span, address: u64, arena: &Arena) -> Option<usize> {
    let end = span.address + span.elements as u64 * 4;
    let gap = address.checked_sub(end)?;
    let at_buffers_end = || arena.used_as(Use::Input).any(|place: &Place| place.end() == end);
    (gap == 0 || (gap < ALIGNMENT && at_buffers_end())).then_some(gap as usize / 4)
}

/// The way out: what the sampled buffer held behind each of the last two runs. A kernel writes it to the host: a copy would
/// keep the next step waiting for longer.
pub struct TokenRing {
    areas: Vec<Area>,
    /// Words that each area holds.
    held: [usize; RUNS],
    next: u64,
}

impl TokenRing {
    /// Room for the sampled buffer of the arena, if it has one.
    ///
    /// # Errors
    /// Pinned memory is short.
    pub fn new(arena: &Arena) -> Result<TokenRing> {
        let words = arena.used_as(Use::Sampled).next().map_or(0, |tokens| tokens.bytes / 4);
        Ok(TokenRing { areas: areas(words)?, held: [0; RUNS], next: 0 })
    }

    /// What comes behind each run of a plan that publishes so many words of the sampled buffer; none for all of them. In its
    /// turn it writes to an area that was written two runs back in the same stream.
    ///
    /// # Errors
    /// The kernel cannot be prepared.
    pub fn publishing(&mut self, words: Option<usize>, context: &mut PrepareContext) -> Result<Publishing> {
        let Some(tokens) = context.arena.used_as(Use::Sampled).next() else {
            return Ok(Publishing { steps: Vec::new(), words: 0 });
        };
        let all = tokens.bytes as usize / 4;
        let words = words.map_or(all, |words| words.min(all));
        let kernel = Publish { tokens: Ptr::new(0, 0), out: Ptr::new(1, 0), count: words as u32 };
        let steps = self.areas.iter_mut().map(|area| {
            let addresses = [tokens.address, area.address()?];
            Prepared::launch_at(&kernel, context, &mut |number, _, _| addresses[number as usize])
        });
        Ok(Publishing { steps: steps.collect::<Result<_>>()?, words })
    }

    /// Whose turn it is in the next run.
    pub fn turn(&self) -> usize {
        self.next as usize % RUNS
    }

    /// Gives out the ticket of a run that has been enqueued, and writes so many words.
    ///
    /// # Errors
    /// The device failed.
    pub fn ticket(&mut self, words: usize, stream: &Stream) -> Result<Ticket> {
        let ticket = Ticket(self.next);
        self.held[self.turn()] = words;
        self.next += 1;
        self.areas[ticket.0 as usize % RUNS].copied.record(stream).or_failed("recording an event")?;
        Ok(ticket)
    }

    /// The tokens behind the run of `ticket`, which is waited for.
    ///
    /// # Errors
    /// The ticket is not one of the last two, or the device failed.
    pub fn read(&self, ticket: Ticket, rank: Option<&Rank>) -> Result<Vec<i32>> {
        if ticket.0 >= self.next || ticket.0 + (RUNS as u64) < self.next {
            return Err(failed(
                "reading tokens",
                format!("ticket {} is not kept, {} runs were given", ticket.0, self.next),
            ));
        }
        let area = &self.areas[ticket.0 as usize % RUNS];
        wait_for(&area.copied, rank)?;
        Ok(area.pinned[..self.held[ticket.0 as usize % RUNS]].to_vec())
    }
}
