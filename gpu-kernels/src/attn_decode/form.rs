//! The slots of entries, as types: [`Slots`] by name.
use super::layout::Slots;

/// The slots of an entry.
pub trait Form: Copy {
    /// What they have room for.
    const SLOTS: Slots;
}

/// [`Slots::APART`].
#[derive(Clone, Copy)]
pub struct Apart;

/// [`Slots::COMPACT`].
#[derive(Clone, Copy)]
pub struct Compact;

/// [`Slots::OF_FEW`].
#[derive(Clone, Copy)]
pub struct OfFew;

impl Form for Apart {
    const SLOTS: Slots = Slots::APART;
}

impl Form for Compact {
    const SLOTS: Slots = Slots::COMPACT;
}

impl Form for OfFew {
    const SLOTS: Slots = Slots::OF_FEW;
}
