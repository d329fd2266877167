//! Device memory: every buffer in one allocation, or in check mode each in a guarded allocation of its own.
use cust::context::CurrentContext;
use cust::memory::DeviceBuffer;
use cust::stream::Stream;
use gpu_kernels::Element;

use super::failure::Answer;
use crate::device::{BufferKind, BufferSpec, Buffers};
use crate::error::{Category, Error, Result, size};

/// Activations are bf16 here.
pub const ACT_BYTES: u64 = 2;

/// Every buffer starts at a multiple of this, as cuBLASLt likes it best.
pub const ALIGNMENT: u64 = 256;
/// Bytes in front of and behind a buffer in check mode.
const GUARD: u64 = 256;
/// What guards and undefined buffers hold: not a number as bf16 and f32, −1 as an integer.
const UNDEFINED: u8 = 0xff;

/// What a buffer is for, as far as its memory matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    Input,
    Sampled,
    Scratch,
    Kept,
    Loaded,
}

impl Use {
    fn of(spec: &BufferSpec) -> Use {
        match spec.kind {
            BufferKind::Input => Use::Input,
            BufferKind::Sampled { .. } => Use::Sampled,
            BufferKind::Scratch => Use::Scratch,
            BufferKind::State | BufferKind::Slots | BufferKind::Counters => Use::Kept,
            BufferKind::Weight(_) | BufferKind::Constant(_) => Use::Loaded,
        }
    }
}

/// One buffer's place.
#[derive(Clone, Debug)]
pub struct Place {
    /// The buffer's name.
    pub name: String,
    /// What it is for.
    pub used_as: Use,
    /// Address of its first element.
    pub address: u64,
    /// Its size.
    pub bytes: u64,
}

impl Place {
    /// Address behind its last element.
    pub fn end(&self) -> u64 {
        self.address + self.bytes
    }
}

/// All buffers of a model.
pub struct Arena {
    places: Vec<Place>,
    allocations: Vec<DeviceBuffer<u8>>,
    guarded: bool,
}

impl Arena {
    /// Allocates `buffers`; inputs stand side by side in the order of their numbers. All but the loaded ones are zero.
    ///
    /// # Errors
    /// The device has less free memory than the buffers need; nothing is allocated then.
    pub fn new(buffers: &Buffers, guarded: bool) -> Result<Arena> {
        let mut places: Vec<Place> = buffers.iter().map(|(_, spec)| place(spec)).collect();
        let room = |place: &Place| place.bytes.max(1).next_multiple_of(ALIGNMENT) + if guarded { 2 * GUARD } else { 0 };
        let needed = places.iter().map(room).sum::<u64>();
        compare(buffers, needed)?;
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|&index| places[index].used_as);
        let mut allocations = Vec::new();
        if guarded {
            for &index in &order {
                let allocation = filled(GUARD + places[index].bytes + GUARD, UNDEFINED)?;
                places[index].address = allocation.as_device_ptr().as_raw() + GUARD;
                allocations.push(allocation);
            }
        } else {
            let allocation = filled(needed, 0)?;
            let mut address = allocation.as_device_ptr().as_raw();
            for &index in &order {
                places[index].address = address;
                address += room(&places[index]);
            }
            allocations.push(allocation);
        }
        let arena = Arena { places, allocations, guarded };
        if guarded {
            arena.zero()?;
        }
        CurrentContext::synchronize().or_failed("clearing the buffers")?;
        Ok(arena)
    }

    /// A buffer's place.
    pub fn place(&self, buffer: u32) -> &Place {
        &self.places[buffer as usize]
    }

    /// Places of all buffers with one use.
    pub fn used_as(&self, used_as: Use) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.used_as == used_as)
    }

    /// Address of element `offset` of a buffer.
    ///
    /// # Panics
    /// If the element is behind the buffer's end: a mistake in a plan.
    pub fn address(&self, buffer: u32, offset: u64, element: Element) -> u64 {
        let place = self.place(buffer);
        let bytes = offset * element.bytes(ACT_BYTES);
        assert!(bytes <= place.bytes, "element {offset} is behind the end of `{}`", place.name);
        place.address + bytes
    }

    /// In check mode, makes everything undefined that lives within a step only.
    ///
    /// # Errors
    /// The device failed.
    pub fn poison(&self, stream: &Stream) -> Result<()> {
        for place in self.used_as(Use::Scratch).filter(|_| self.guarded) {
            let (address, bytes) = (place.address, place.bytes as usize);
            // SAFETY: the range is a buffer of this arena, and what is enqueued before and after it is in one stream.
            unsafe { cust_raw::cuMemsetD8Async(address, UNDEFINED, bytes, stream.as_inner()) }
                .or_failed(format!("making `{}` undefined", place.name))?;
        }
        Ok(())
    }

    /// In check mode, looks at every guard after the device has finished its work.
    ///
    /// # Errors
    /// Something wrote in front of a buffer or behind it, or the device failed.
    pub fn check_guards(&self) -> Result<()> {
        for place in self.places.iter().filter(|_| self.guarded) {
            for (start, side) in [(place.address - GUARD, "in front of"), (place.address + place.bytes, "behind")] {
                let mut guard = [0u8; GUARD as usize];
                // SAFETY: the guard is part of the allocation and as long as the array.
                unsafe { cust_raw::cuMemcpyDtoH_v2(guard.as_mut_ptr().cast(), start, guard.len()) }
                    .or_failed(format!("reading the guard {side} `{}`", place.name))?;
                if let Some(at) = guard.iter().position(|byte| *byte != UNDEFINED) {
                    return Err(Error::new(Category::Device, "A kernel wrote outside its buffer")
                        .details(format!("byte {at} of the {GUARD} bytes {side} `{}` has changed", place.name))
                        .hint("compute-sanitizer --tool memcheck names the kernel"));
                }
            }
        }
        Ok(())
    }

    fn zero(&self) -> Result<()> {
        for place in self.places.iter().filter(|place| place.used_as != Use::Loaded) {
            // SAFETY: the range is a buffer of this arena, and no work is under way yet.
            unsafe { cust_raw::cuMemsetD8_v2(place.address, 0, place.bytes as usize) }
                .or_failed(format!("clearing `{}`", place.name))?;
        }
        Ok(())
    }

    /// Bytes that the buffers take, padding included.
    pub fn bytes(&self) -> u64 {
        self.allocations.iter().map(|allocation| allocation.len() as u64).sum()
    }
}

fn place(spec: &BufferSpec) -> Place {
    Place { name: spec.name.clone(), used_as: Use::of(spec), address: 0, bytes: spec.bytes(ACT_BYTES) }
}

fn filled(bytes: u64, value: u8) -> Result<DeviceBuffer<u8>> {
    let doing = || format!("allocating {}", size(bytes));
    // SAFETY: every byte is written before anything reads the buffer.
    let allocation = unsafe { DeviceBuffer::<u8>::uninitialized(bytes as usize) }.or_failed(doing())?;
    let address = allocation.as_device_ptr().as_raw();
    // SAFETY: the range is the allocation just made.
    unsafe { cust_raw::cuMemsetD8_v2(address, value, bytes as usize) }.or_failed(doing())?;
    Ok(allocation)
}

fn compare(buffers: &Buffers, needed: u64) -> Result<()> {
    let (free, total) = cust::memory::mem_get_info().or_failed("asking for the free memory")?;
    if needed <= free as u64 {
        return Ok(());
    }
    let sum = |wanted: fn(&BufferSpec) -> bool| size(buffers.bytes(ACT_BYTES, wanted));
    Err(Error::new(Category::Device, "CUDA out of memory")
        .details(format!(
            "needed {} (weights {}, KV cache {}, working memory and constants the rest), free {} of {}",
            size(needed),
            sum(|spec| matches!(spec.kind, BufferKind::Weight(_))),
            sum(|spec| spec.element.is_cached()),
            size(free as u64),
            size(total as u64)
        ))
        .hint("lower --context, --max-sequences or --batch, end other programs on this GPU, or take another with --device"))
}
