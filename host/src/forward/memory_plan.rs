//! `MemoryPlan`: every buffer of a model, named and sized from its spec alone; weights and tables come when it is loaded.
use gpu_kernels::Element;

use super::WeightSource;
use crate::device::{BufferId, BufferKind, Buffers, Weight};
use crate::error::Result;
use crate::models::spec::Tensor;

/// How the names of a block's own buffers begin.
pub(super) const BLOCK_PREFIX: &str = "blocks.";

/// Values that the host computes when the plan is loaded.
pub type Table = Box<dyn Fn() -> Vec<f32> + Send + Sync>;

/// What a buffer holds at the start.
pub(super) enum Content {
    /// Matrices, one below the other.
    Matrices(Vec<Tensor>),
    /// Vectors, one below the other, as a column.
    Vectors(Vec<Tensor>),
    /// What stands beside the codes of matrices.
    Beside(Beside, Vec<Tensor>),
    /// Computed by the host.
    Table(Table),
    /// Nothing from outside.
    Empty(BufferKind),
}

/// What stands beside the codes of matrices (docs/formats.md).
#[derive(Clone, Copy)]
pub(super) enum Beside {
    /// The scales of their rows.
    Scales,
    /// The order of their columns.
    Order,
    /// The factors of the input.
    Factors,
}

/// A buffer that is asked for.
struct Planned {
    name: String,
    element: Element,
    elements: u64,
    content: Content,
}

impl Beside {
    fn of(self, weight: &Weight) -> Weight {
        match self {
            Beside::Scales => weight.scales(),
            Beside::Order => weight.order(),
            Beside::Factors => weight.factors(),
        }
        .expect("the tensors have what the model says that they have")
    }
}

/// The buffers of a model before anything is read or computed.
#[derive(Default)]
pub struct MemoryPlan {
    planned: Vec<Planned>,
    gemms: bool,
    fp8_gemms: bool,
}

/// Bytes of a model's buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySizes {
    /// Weights, in the formats in which the device keeps them.
    pub weights: u64,
    /// Keys and values of all pages.
    pub kv: u64,
    /// What all sequence slots keep beside keys and values.
    pub slots: u64,
    /// Activations, tables and inputs.
    pub workspace: u64,
    /// Number of buffers.
    pub buffers: u64,
}

impl MemoryPlan {
    /// Asks for a buffer.
    pub(super) fn add(&mut self, name: String, element: Element, elements: u64, content: Content) -> BufferId {
        self.planned.push(Planned { name, element, elements, content });
        BufferId((self.planned.len() - 1) as u32)
    }

    /// Asks for a buffer that others may ask for too, by its name: it becomes as large as the largest wish.
    pub(super) fn share(&mut self, name: &str, element: Element, elements: u64, kind: BufferKind) -> BufferId {
        match self.planned.iter().position(|planned| planned.name == name) {
            None => self.add(name.to_owned(), element, elements, Content::Empty(kind)),
            Some(index) => {
                let known = &mut self.planned[index];
                assert_eq!(known.element, element, "`{name}` holds one type of element");
                known.elements = known.elements.max(elements);
                BufferId(index as u32)
            }
        }
    }

    /// Asks for a weight in its own format.
    pub(super) fn add_weight(&mut self, name: String, content: Content) -> BufferId {
        let (Content::Matrices(tensors) | Content::Vectors(tensors)) = &content else {
            panic!("`{name}` is made of tensors");
        };
        let format = tensors[0].format;
        assert!(tensors.iter().all(|tensor| tensor.format == format), "`{name}` has one format");
        assert!(!format.is_packed(), "codes are asked for with their scales");
        let elements = tensors.iter().map(Tensor::elements).sum();
        self.add(name, format.element(), elements, content)
    }

    /// Whether plans of the model may hold products for the device's matrix library.
    pub fn expects_gemms(&self) -> bool {
        self.gemms
    }

    /// Notes that they may.
    pub(super) fn expect_gemms(&mut self) {
        self.gemms = true;
    }

    /// Whether some of these have factors in FP8.
    pub fn expects_fp8_gemms(&self) -> bool {
        self.fp8_gemms
    }

    /// Notes that some do.
    pub(super) fn expect_fp8_gemms(&mut self) {
        (self.gemms, self.fp8_gemms) = (true, true);
    }

    /// Whether a block keeps something for each sequence slot.
    pub(super) fn has_state(&self) -> bool {
        let of_block = |planned: &&Planned| planned.name.starts_with(BLOCK_PREFIX);
        self.planned.iter().filter(of_block).any(|block| matches!(block.content, Content::Empty(BufferKind::Slots)))
    }

    /// Bytes where an activation has `act_bytes` bytes.
    pub fn sizes(&self, act_bytes: u64) -> MemorySizes {
        let mut sizes = MemorySizes { buffers: self.planned.len() as u64, ..MemorySizes::default() };
        for planned in &self.planned {
            let sum = match &planned.content {
                Content::Matrices(_) | Content::Vectors(_) | Content::Beside(..) => &mut sizes.weights,
                Content::Empty(_) if planned.element.is_cached() => &mut sizes.kv,
                Content::Empty(BufferKind::Slots) => &mut sizes.slots,
                _ => &mut sizes.workspace,
            };
            *sum += planned.elements * planned.element.bytes(act_bytes);
        }
        sizes
    }

    /// The buffers, with their weights from `weights` and their tables computed.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the model asks for.
    pub fn load(self, weights: WeightSource) -> Result<Buffers> {
        let mut buffers = Buffers::default();
        if self.gemms {
            buffers.expect_gemms();
        }
        for Planned { name, element, elements, content } in self.planned {
            let kind = match content {
                Content::Empty(kind) => kind,
                Content::Table(table) => BufferKind::Constant(table()),
                Content::Matrices(tensors) => BufferKind::Weight(weights(&tensors)?),
                Content::Beside(wanted, tensors) => BufferKind::Weight(wanted.of(&weights(&tensors)?)),
                Content::Vectors(tensors) => {
                    let vectors = tensors.iter().map(|vector| weights(std::slice::from_ref(vector)));
                    BufferKind::Weight(Weight::column(&vectors.collect::<Result<Vec<_>>>()?))
                }
            };
            buffers.add(name, element, elements, kind);
        }
        Ok(buffers)
    }
}
