//! Weights and constants on their way to the device: reader threads fill pinned chunks while earlier ones are copied.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cust::event::Event;
use cust::stream::Stream;
use gpu_kernels::Element;
use half::bf16;

use super::arena::Arena;
use super::failure::Answer;
use super::interleaver::{Interleaver, SLOTS, recorded};
use super::pinned::Pinned;
use crate::device::{BufferKind, BufferSpec, Buffers, WeightPart};
use crate::error::Result;

/// Bytes of a pinned chunk: 40 µs of PCIe 5, so that starting a copy costs little beside it.
const CHUNK: usize = 2 << 20;
/// Chunks that are being copied while the readers fill others.
const COPYING: usize = SLOTS;
/// One thread reads the page cache at a tenth of what PCIe 5 takes: 12 read 48 GB/s where 16 read 54.
const MOST_READERS: usize = 16;

/// Told after each piece: bytes that are on their way, and bytes in all.
pub type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// What an upload took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uploaded {
    /// Bytes copied.
    pub bytes: u64,
    /// From the first read to the end of the last copy, and of what is made of copies.
    pub duration: Duration,
}

impl Uploaded {
    /// GB/s, with 10⁹ bytes to the GB.
    pub fn gigabytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.duration.as_secs_f64().max(1e-9) / 1e9
    }
}

/// Where a piece of at most [`CHUNK`] bytes comes from.
enum Source<'a> {
    /// Bytes of elements that stand adjacent, from this one on.
    Adjacent(&'a WeightPart, usize),
    /// One row's selected columns after another's.
    Rows(&'a WeightPart, std::ops::Range<usize>),
    /// Computed by the host.
    Bytes(Vec<u8>),
}

/// A piece and where it goes.
struct Piece<'a> {
    address: u64,
    /// Bytes that are copied; where codes and scales come apart, other ones arrive.
    bytes: usize,
    source: Source<'a>,
}

impl Piece<'_> {
    /// Rows and columns of what comes apart; none where the copy is all.
    fn apart(&self) -> Option<[usize; 2]> {
        match &self.source {
            Source::Rows(part, rows) if part.comes_apart() => Some([rows.len(), part.columns()]),
            _ => None,
        }
    }

    /// Elements that are not in their weight's format in the file are converted here: no more of them is in memory than the
    /// chunks hold.
    fn read(&self, chunk: &mut [u8]) -> Result<()> {
        let chunk = &mut chunk[..self.bytes];
        match &self.source {
            Source::Adjacent(part, first) => part.copy_adjacent(*first, chunk),
            Source::Rows(part, rows) => part.copy_rows(rows.clone(), chunk),
            Source::Bytes(bytes) => {
                chunk.copy_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// Copies every weight and constant of `buffers` to its place; what comes apart, `interleaver` puts there.
///
/// # Errors
/// Memory is short, pinned or the GPU's, a weight's file can not be read, or a copy or a kernel failed.
pub fn upload(
    buffers: &Buffers,
    arena: &Arena,
    stream: &Stream,
    mut interleaver: Interleaver,
    mut progress: Option<Progress>,
) -> Result<Uploaded> {
    let start = Instant::now();
    let pieces = pieces(buffers, arena);
    let total: u64 = pieces.iter().map(|piece| piece.bytes as u64).sum();
    if pieces.is_empty() {
        return Ok(Uploaded::default());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let readers = threads.clamp(1, MOST_READERS).min(pieces.len());
    let widest = pieces.iter().map(|piece| piece.bytes).max().unwrap_or(0);
    let mut pinned = Pinned::new(widest * (readers + COPYING))?;
    let _ended = Ended(stream);
    let next = AtomicUsize::new(0);
    let (give_back, empty) = mpsc::channel();
    let (filled, arrivals) = mpsc::channel();
    pinned.as_mut().chunks_exact_mut(widest).for_each(|chunk| give_back.send(chunk).expect("the receiver is at hand"));
    let empty = Mutex::new(empty);
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let filled = filled.clone();
            scope.spawn(|| read(&pieces, &next, &empty, filled));
        }
        drop(filled);
        let mut report = |done| progress.iter_mut().for_each(|progress| progress(done, total));
        let copied = copy((&pieces, widest), arrivals, give_back, (stream, &mut interleaver), &mut report);
        // The chunks are freed when this function returns, so no copy may be under way then, whatever happened.
        copied.and(stream.synchronize().or_failed("finishing the upload")).and(interleaver.finish())
    })?;
    Ok(Uploaded { bytes: total, duration: start.elapsed() })
}

/// Waits for a stream when it is dropped: a panic must not free chunks that are being copied.
struct Ended<'a>(&'a Stream);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = self.0.synchronize();
    }
}

/// Fills empty chunks with pieces until there is no piece left, nobody who takes them, or one that can not be read.
fn read<'c>(
    pieces: &[Piece],
    next: &AtomicUsize,
    empty: &Mutex<Receiver<&'c mut [u8]>>,
    filled: Sender<Result<(usize, &'c mut [u8])>>,
) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(piece) = pieces.get(index) else { return };
        let Ok(chunk) = empty.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
        let arrival = piece.read(chunk).map(|()| (index, chunk));
        let failed = arrival.is_err();
        if filled.send(arrival).is_err() || failed {
            return;
        }
    }
}

/// Copies filled chunks and gives each back when its copy has ended, and what is made of it.
fn copy<'c>(
    (pieces, widest): (&[Piece], usize),
    arrivals: Receiver<Result<(usize, &'c mut [u8])>>,
    give_back: Sender<&'c mut [u8]>,
    (stream, interleaver): (&Stream, &mut Interleaver),
    report: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut copying: VecDeque<(Event, &mut [u8])> = VecDeque::new();
    let mut done = 0;
    for arrival in arrivals {
        let (index, chunk) = arrival?;
        let piece = &pieces[index];
        let (apart, bytes) = (piece.apart(), piece.bytes);
        let address = match apart {
            // Fewer pieces than slots are under way.
            Some(_) => interleaver.slot(widest)?,
            None => piece.address,
        };
        // SAFETY: the piece lies in a buffer of the arena or a slot, and its chunk stays untouched until the event behind it.
        unsafe { cust_raw::cuMemcpyHtoDAsync_v2(address, chunk.as_ptr().cast(), bytes, stream.as_inner()) }
            .or_failed("copying weights to the GPU")?;
        let copied = recorded(stream)?;
        let event = match apart {
            Some(shape) => interleaver.interleave(address, shape, piece.address, copied)?,
            None => copied,
        };
        copying.push_back((event, chunk));
        done += bytes as u64;
        report(done);
        if copying.len() == COPYING {
            let (event, chunk) = copying.pop_front().expect("copies are under way");
            event.synchronize().or_failed("copying weights to the GPU")?;
            // A reader that has ended needs no chunk.
            let _ = give_back.send(chunk);
        }
    }
    Ok(())
}

fn pieces<'a>(buffers: &'a Buffers, arena: &Arena) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for (id, spec) in buffers.iter() {
        let address = arena.place(id.0).address;
        match &spec.kind {
            BufferKind::Weight(parts) => {
                parts.parts().iter().fold(address, |address, part| push_part(&mut pieces, part, address));
            }
            BufferKind::Constant(values) => {
                let bytes = constant(spec, values);
                bytes.chunks(CHUNK).fold(address, |address, bytes| {
                    push(&mut pieces, address, bytes.len(), Source::Bytes(bytes.to_vec()))
                });
            }
            _ => {}
        }
    }
    pieces
}

/// Cuts a part into pieces; returns the address behind it.
fn push_part<'a>(pieces: &mut Vec<Piece<'a>>, part: &'a WeightPart, mut address: u64) -> u64 {
    let row_bytes = part.bytes_of_row();
    if part.is_adjacent() {
        let bytes = part.rows() * row_bytes;
        for first in (0..bytes).step_by(CHUNK) {
            address = push(pieces, address, (bytes - first).min(CHUNK), Source::Adjacent(part, first));
        }
        return address;
    }
    let copied_bytes = part.copied_bytes_of_row();
    let rows_per_piece = (CHUNK / copied_bytes).max(1);
    for first in (0..part.rows()).step_by(rows_per_piece) {
        let rows = first..part.rows().min(first + rows_per_piece);
        let count = rows.len();
        push(pieces, address, count * copied_bytes, Source::Rows(part, rows));
        address += (count * row_bytes) as u64;
    }
    address
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, address: u64, bytes: usize, source: Source<'a>) -> u64 {
    pieces.push(Piece { address, bytes, source });
    address + bytes as u64
}

/// The device's bytes of values that the host has computed.
fn constant(spec: &BufferSpec, values: &[f32]) -> Vec<u8> {
    match spec.element {
        Element::F32 => bytemuck::cast_slice(values).to_vec(),
        _ => bytemuck::cast_slice(&values.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>()).to_vec(),
    }
}
