//! `Format`: how the elements of a weight stand in a device's memory.
use gpu_kernels::Element;

/// How the elements of a weight stand in a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 16-bit brain floats.
    Bf16,
    /// 32-bit floats.
    F32,
}

impl Format {
    /// What a buffer of this format holds.
    pub const fn element(self) -> Element {
        match self {
            Format::Bf16 => Element::Weight,
            Format::F32 => Element::F32,
        }
    }

    /// Bytes of `elements` elements.
    pub const fn bytes(self, elements: u64) -> u64 {
        match self {
            Format::Bf16 => 2 * elements,
            Format::F32 => 4 * elements,
        }
    }

    /// As [`Format::bytes`], of what is in this program's memory.
    pub(super) const fn size(self, elements: usize) -> usize {
        self.bytes(elements as u64) as usize
    }
}
