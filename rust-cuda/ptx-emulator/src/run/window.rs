//! Where the generic address space shows the spaces that are not global.

use crate::parse::Space;

const SHARED: u64 = 0x1000_0000_0000;
const LOCAL: u64 = 0x2000_0000_0000;
const PARAM: u64 = 0x3000_0000_0000;
/// A window is this large; nothing else lies in it.
const SIZE: u64 = 1 << 32;

/// Generic address of the first byte of a space.
pub fn of(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED,
        Space::Local => LOCAL,
        Space::Param => PARAM,
        Space::Generic | Space::Global | Space::Const => 0,
    }
}

/// The start of the window that a generic address lies in; 0 for global memory.
#[inline(always)]
pub fn base(address: u64) -> u64 {
    let start = address & !(SIZE - 1);
    if start == SHARED || start == LOCAL || start == PARAM { start } else { 0 }
}

/// The space of a generic address.
pub fn space(address: u64) -> Space {
    match base(address) {
        SHARED => Space::Shared,
        LOCAL => Space::Local,
        PARAM => Space::Param,
        _ => Space::Global,
    }
}
