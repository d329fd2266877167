//! Buffers in host memory, as the references see them: typed, bounds-checked, and borrow-checked at run time.
use std::cell::{Ref, RefCell, RefMut};

use gpu_kernels::{Element, Ptr, Role};
use half::bf16;

use super::{Activation, BufferKind, BufferSpec, Buffers, Weight};

/// One buffer's elements.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Activations of the bf16 device.
    Bf16(Vec<bf16>),
    /// Activations of the f32 device, and f32 buffers.
    F32(Vec<f32>),
    /// Integers.
    I32(Vec<i32>),
    /// Codes of cached keys or values.
    Codes(Vec<u8>),
    /// A bf16 or packed weight, where it stands.
    Weight(Weight),
}

/// A type that a [`Storage`] can hold.
pub trait Stored: Copy + Default + Send + Sync + std::fmt::Debug + 'static {
    /// The elements, if they are of this type.
    fn slice(storage: &Storage) -> Option<&[Self]>;
    /// The elements, if they are of this type.
    fn slice_mut(storage: &mut Storage) -> Option<&mut [Self]>;
}

macro_rules! stored {
    ($($element:ty => $variant:ident,)*) => { $(impl Stored for $element {
        fn slice(storage: &Storage) -> Option<&[Self]> {
            if let Storage::$variant(elements) = storage { Some(elements) } else { None }
        }

        fn slice_mut(storage: &mut Storage) -> Option<&mut [Self]> {
            if let Storage::$variant(elements) = storage { Some(elements) } else { None }
        }
    })* };
}
stored! { bf16 => Bf16, f32 => F32, i32 => I32, u8 => Codes, }

/// The buffers of a plan in host memory.
///
/// A reference borrows what it reads and what it writes; two borrows of one buffer of which one writes are a fault of the
/// kernel's aliasing rules and panic.
#[derive(Debug, Default)]
pub struct Memory(Vec<RefCell<Storage>>);

impl Memory {
    /// Memory for `buffers`, activations of type `A`; all but weights and constants start as zero.
    pub fn new<A: Activation>(buffers: Buffers) -> Memory {
        Memory(buffers.into_iter().map(|spec| RefCell::new(storage::<A>(spec))).collect())
    }

    /// `count` elements from `source` on.
    ///
    /// # Panics
    /// If the buffer is not of this type, too short or borrowed for writing: a mistake in a plan or a kernel.
    pub fn read<T: Stored>(&self, source: Ptr<impl Role>, count: usize) -> Ref<'_, [T]> {
        let (buffer, offset) = source.target().expect("pointer is not null");
        Ref::map(self.0[buffer as usize].borrow(), |storage| {
            let elements = T::slice(storage).expect("buffer has this element type");
            &elements[offset as usize..][..count]
        })
    }

    /// `count` elements from `target` on, to be written.
    ///
    /// # Panics
    /// As [`Memory::read`], and if the buffer is borrowed at all.
    pub fn write<T: Stored>(&self, target: Ptr<impl Role>, count: usize) -> RefMut<'_, [T]> {
        let (buffer, offset) = target.target().expect("pointer is not null");
        RefMut::map(self.0[buffer as usize].borrow_mut(), |storage| {
            let elements = T::slice_mut(storage).expect("buffer has this element type");
            &mut elements[offset as usize..][..count]
        })
    }

    /// All elements from `source` on.
    ///
    /// # Panics
    /// As [`Memory::read`].
    pub fn read_all<T: Stored>(&self, source: Ptr<impl Role>) -> Ref<'_, [T]> {
        let (buffer, offset) = source.target().expect("pointer is not null");
        Ref::map(self.0[buffer as usize].borrow(), |storage| {
            &T::slice(storage).expect("buffer has this element type")[offset as usize..]
        })
    }

    /// All elements from `target` on, to be written.
    ///
    /// # Panics
    /// As [`Memory::write`].
    pub fn write_all<T: Stored>(&self, target: Ptr<impl Role>) -> RefMut<'_, [T]> {
        let (buffer, offset) = target.target().expect("pointer is not null");
        RefMut::map(self.0[buffer as usize].borrow_mut(), |storage| {
            &mut T::slice_mut(storage).expect("buffer has this element type")[offset as usize..]
        })
    }

    /// The parts of a weight.
    ///
    /// # Panics
    /// If the buffer is no weight, or `source` does not point to its start.
    pub fn weight(&self, source: Ptr<gpu_kernels::Weight>) -> Ref<'_, Weight> {
        let (_, offset) = source.target().expect("pointer is not null");
        assert_eq!(offset, 0, "weights are named whole");
        self.weight_from(source).0
    }

    /// The parts of the weight that `source` points into, and the element that it points to.
    ///
    /// # Panics
    /// If the buffer is no weight.
    pub fn weight_from(&self, source: Ptr<impl Role>) -> (Ref<'_, Weight>, usize) {
        let (buffer, offset) = source.target().expect("pointer is not null");
        let weight = Ref::map(self.0[buffer as usize].borrow(), |storage| match storage {
            Storage::Weight(parts) => parts,
            _ => panic!("buffer {buffer} is no weight"),
        });
        (weight, offset as usize)
    }

    /// Whether a buffer is a weight, not something that a step makes.
    pub fn is_weight(&self, source: Ptr<impl Role>) -> bool {
        let (buffer, _) = source.target().expect("pointer is not null");
        matches!(*self.0[buffer as usize].borrow(), Storage::Weight(_))
    }
}

fn storage<A: Activation>(spec: BufferSpec) -> Storage {
    let count = spec.elements as usize;
    match (spec.kind, spec.element) {
        (BufferKind::Weight(weight), element) => stored(weight, element),
        (BufferKind::Constant(values), Element::F32) => Storage::F32(values),
        (BufferKind::Constant(values), _) => A::storage(values.into_iter().map(A::from_f32).collect()),
        (_, Element::I32) => Storage::I32(vec![0; count]),
        (_, Element::Kv8 | Element::Packed) => Storage::Codes(vec![0; count]),
        (_, Element::F32) => Storage::F32(vec![0.0; count]),
        (_, Element::Act | Element::Kv | Element::Weight) => A::storage(zeros(count)),
    }
}

/// A weight in memory; [`Buffers::in_memory`] has checked what may be wrong with its elements.
fn stored(weight: Weight, element: Element) -> Storage {
    let weight = weight.in_memory().expect("its elements were checked");
    match element {
        Element::F32 => Storage::F32(weight.to_f32()),
        Element::I32 => Storage::I32(weight.to_f32().into_iter().map(|bits| bits.to_bits().cast_signed()).collect()),
        _ => Storage::Weight(weight),
    }
}

/// `vec![A::default(); count]` writes every element where A is generic; this asks for zeroed pages instead.
fn zeros<A: Activation>(count: usize) -> Vec<A> {
    bytemuck::allocation::zeroed_vec(count)
}
