//! The named buffers that all plans of a model share.
use gpu_kernels::{Element, Ptr, Role};

use super::Weight;
use crate::error::Result;

/// Number of a buffer in its [`Buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u32);

impl BufferId {
    /// Pointer to the buffer's first element.
    pub fn ptr<R: Role>(self) -> Ptr<R> {
        Ptr::new(self.0, 0)
    }
}

/// What a buffer is for.
#[derive(Clone, Debug)]
pub enum BufferKind {
    /// Read only: part of the checkpoint.
    Weight(Weight),
    /// Read only: computed by the host, narrowed to the buffer's element.
    Constant(Vec<f32>),
    /// Written by the host before a run.
    Input,
    /// Undefined at the start of every plan but one that [`continues`](super::Plan::continues).
    Scratch,
    /// Kept from step to step: KV pools.
    State,
    /// Kept from step to step, as many elements for each sequence slot.
    Slots,
    /// Zero at first; what a kernel that counts in it leaves there is what its next launch needs.
    Counters,
    /// Kept from step to step and read by ticket: the last token of each sequence slot, then what was wrong with the
    /// logits that each was chosen from (`gpu_kernels::argmax`), then how likely it was (`gpu_kernels::top_logprobs`).
    Sampled {
        /// Words of each of these. The last slot is nobody's: what no sequence reads is written there, in any order.
        slots: usize,
    },
}

/// One named buffer.
#[derive(Clone, Debug)]
pub struct BufferSpec {
    /// Unique name, as profiles and faults print it.
    pub name: String,
    /// What an element is.
    pub element: Element,
    /// Number of elements.
    pub elements: u64,
    /// What it is for.
    pub kind: BufferKind,
}

impl BufferSpec {
    /// Bytes where an activation has `act_bytes` bytes.
    pub fn bytes(&self, act_bytes: u64) -> u64 {
        self.elements.saturating_mul(self.element.bytes(act_bytes))
    }
}

/// All buffers of a model, by number.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    specs: Vec<BufferSpec>,
    gemms: bool,
}

impl Buffers {
    /// Adds a buffer and returns its number.
    pub fn add(&mut self, name: impl Into<String>, element: Element, elements: u64, kind: BufferKind) -> BufferId {
        let id = BufferId(u32::try_from(self.specs.len()).expect("a model has fewer than 2^24 buffers"));
        self.specs.push(BufferSpec { name: name.into(), element, elements, kind });
        id
    }

    /// Adds a weight and returns its number.
    pub fn add_weight(&mut self, name: impl Into<String>, weight: Weight) -> BufferId {
        let element = weight.format().element();
        let bytes = weight.rows() as u64 * weight.format().row_bytes(weight.columns() as u64);
        self.add(name, element, bytes / element.bytes(0), BufferKind::Weight(weight))
    }

    /// Notes that plans over these buffers may hold products for the device's matrix library.
    pub fn expect_gemms(&mut self) {
        self.gemms = true;
    }

    /// Whether [`Buffers::expect_gemms`] was called: a device may start its library beside the upload.
    pub fn expects_gemms(&self) -> bool {
        self.gemms
    }

    /// The buffers of rank `rank`: its share of every weight, and as much of everything else as any other has.
    pub fn of_rank(&self, rank: usize) -> Buffers {
        let mut buffers = self.clone();
        for spec in &mut buffers.specs {
            if let BufferKind::Weight(weight) = &mut spec.kind {
                *weight = weight.of_rank(rank);
            }
        }
        buffers
    }

    /// The buffers with all weights in their formats, to be read where they are.
    ///
    /// # Errors
    /// As of [`Weight::in_memory`].
    pub fn in_memory(mut self) -> Result<Buffers> {
        for spec in &mut self.specs {
            if let BufferKind::Weight(weight) = &mut spec.kind {
                *weight = weight.clone().in_memory()?;
            }
        }
        Ok(self)
    }

    /// The buffers in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (BufferId, &BufferSpec)> {
        self.specs.iter().enumerate().map(|(i, spec)| (BufferId(i as u32), spec))
    }

    /// One buffer.
    pub fn get(&self, id: BufferId) -> &BufferSpec {
        &self.specs[id.0 as usize]
    }

    /// Bytes of all buffers of which `wanted` holds, where an activation has `act_bytes` bytes.
    pub fn bytes(&self, act_bytes: u64, wanted: impl Fn(&BufferSpec) -> bool) -> u64 {
        self.specs.iter().filter(|spec| wanted(spec)).fold(0, |sum, spec| sum.saturating_add(spec.bytes(act_bytes)))
    }
}

impl IntoIterator for Buffers {
    type Item = BufferSpec;
    type IntoIter = std::vec::IntoIter<BufferSpec>;

    fn into_iter(self) -> Self::IntoIter {
        self.specs.into_iter()
    }
}
