//! `Ptr<Role>`: a 64-bit address in an args struct that says what it points to.
use core::marker::PhantomData;

/// Role of activations: bf16 on a GPU, bf16 or f32 on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Act;
/// Role of cached keys and values, which a [`KvFormat`](crate::KvFormat) says how to read; in a plan, of pools as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Kv;
/// Role of weights: always bf16.
#[derive(Clone, Copy, Debug)]
pub struct Weight;
/// Role of a weight's codes in a packed [`Format`](crate::Format); offsets count bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packed;

/// What one element behind a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// An activation.
    Act,
    /// A cached key or value that is an activation.
    Kv,
    /// A cached key or value in 8 bits.
    Kv8,
    /// A bf16 weight.
    Weight,
    /// A byte of a weight's codes.
    Packed,
    /// A 32-bit float on every device.
    F32,
    /// A 32-bit signed integer on every device.
    I32,
}

impl Element {
    /// Bytes of one element where an activation has `act_bytes` bytes.
    pub const fn bytes(self, act_bytes: u64) -> u64 {
        match self {
            Element::Act | Element::Kv => act_bytes,
            Element::Weight => 2,
            Element::Kv8 | Element::Packed => 1,
            Element::F32 | Element::I32 => 4,
        }
    }

    /// Whether it is one of a pool of keys or values.
    pub const fn is_cached(self) -> bool {
        matches!(self, Element::Kv | Element::Kv8)
    }
}

/// A type that can stand as the role of a [`Ptr`].
pub trait Role: Copy {
    /// The element this role stands for.
    const ELEMENT: Element;
}
impl Role for Act {
    const ELEMENT: Element = Element::Act;
}
impl Role for Kv {
    const ELEMENT: Element = Element::Kv;
}
impl Role for Weight {
    const ELEMENT: Element = Element::Weight;
}
impl Role for Packed {
    const ELEMENT: Element = Element::Packed;
}
impl Role for f32 {
    const ELEMENT: Element = Element::F32;
}
impl Role for i32 {
    const ELEMENT: Element = Element::I32;
}

/// A pointer in an args struct.
///
/// In a plan it names a buffer and an element offset in it ([`Ptr::new`]); a device that runs PTX rewrites it to an
/// address when it prepares the plan. Zero is null in both forms.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ptr<R> {
    /// The address on the device, or buffer and offset in a plan.
    pub addr: u64,
    role: PhantomData<R>,
}

const OFFSET_BITS: u32 = 40;

impl<R: Role> Ptr<R> {
    /// The pointer that points nowhere.
    pub const NULL: Ptr<R> = Ptr { addr: 0, role: PhantomData };

    /// Element `offset` of buffer number `buffer`; `offset` is below 2^40 and `buffer` below 2^24 − 1.
    pub const fn new(buffer: u32, offset: u64) -> Ptr<R> {
        assert!(offset < 1 << OFFSET_BITS && buffer < (1 << (64 - OFFSET_BITS)) - 1);
        Ptr { addr: ((buffer as u64 + 1) << OFFSET_BITS) | offset, role: PhantomData }
    }

    /// Whether this points nowhere.
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }

    /// Buffer number and element offset of a pointer that a plan holds; none for null.
    pub const fn target(self) -> Option<(u32, u64)> {
        target(self.addr)
    }

    /// The pointer `elements` further on; only for pointers in a plan.
    pub const fn offset(self, elements: u64) -> Ptr<R> {
        Ptr { addr: self.addr + elements, role: PhantomData }
    }
}

const fn target(addr: u64) -> Option<(u32, u64)> {
    match addr >> OFFSET_BITS {
        0 => None,
        buffer => Some((buffer as u32 - 1, addr & ((1 << OFFSET_BITS) - 1))),
    }
}

/// A field of an args struct, so that a device can find the pointers among them and pass them as bytes.
pub trait Field {
    /// Writes the field's bytes, as the device reads them, to the start of `out`.
    fn write(&self, out: &mut [u8]);

    /// Replaces a pointer by `resolve(buffer, element offset, element)`; leaves null and plain numbers alone.
    fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64);
}

impl<R: Role> Field for Ptr<R> {
    fn write(&self, out: &mut [u8]) {
        self.addr.write(out);
    }

    fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64) {
        if let Some((buffer, offset)) = self.target() {
            self.addr = resolve(buffer, offset, R::ELEMENT);
        }
    }
}

impl<R: Role, const N: usize> Field for [Ptr<R>; N] {
    fn write(&self, out: &mut [u8]) {
        self.iter().zip(out.chunks_mut(size_of::<Ptr<R>>())).for_each(|(pointer, out)| pointer.write(out));
    }

    fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64) {
        self.iter_mut().for_each(|pointer| pointer.resolve(resolve));
    }
}

macro_rules! plain_fields {
    ($($number:ty)*) => { $(impl Field for $number {
        fn write(&self, out: &mut [u8]) {
            out[..size_of::<$number>()].copy_from_slice(&self.to_le_bytes());
        }

        fn resolve(&mut self, _: &mut dyn FnMut(u32, u64, Element) -> u64) {}
    })* };
}
plain_fields!(u32 i32 f32 u64);
