//! Global memory: separate allocations with unmapped space around each.

mod allocation;
pub mod clock;
pub mod mailbox;
pub mod shared;
pub mod stamp;
pub mod view;

use crate::fault::{Fault, FaultKind};
pub(crate) use allocation::Allocation;

/// Addresses from here on belong to [`Memory`]; a module's own variables lie below.
pub(crate) const USER_BASE: u64 = 0x7000_0000_0000;
pub(crate) const MODULE_BASE: u64 = 0x6000_0000_0000;
/// Unmapped bytes on each side of an allocation, at least.
const GAP: u64 = 1 << 20;
const ALIGN: u64 = 256;

/// Device memory of the host's making: separate allocations, each with unmapped space on both sides and a
/// shadow bit per byte that says whether it was ever written.
///
/// Addresses are never used again, so an access through a freed one is out of bounds.
pub struct Memory {
    /// In the order of their addresses.
    allocations: Vec<Allocation>,
    next: u64,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// An empty memory.
    pub fn new() -> Memory {
        Memory::starting_at(USER_BASE)
    }

    pub(crate) fn starting_at(base: u64) -> Memory {
        Memory { allocations: Vec::new(), next: base + GAP }
    }

    /// Reserves `bytes` bytes with undefined contents and returns their address, a multiple of 256. `name` is for messages.
    pub fn allocate(&mut self, name: &str, bytes: usize) -> u64 {
        let base = self.next;
        self.allocations.push(Allocation::new(name, base, bytes));
        // Distances between allocations grow with their size: a stray stride should hit nothing.
        self.next = (base + bytes as u64 + GAP.max(bytes as u64 / 2)).next_multiple_of(ALIGN);
        base
    }

    /// Gives an allocation back; nothing happens where `address` is not the start of one.
    pub fn free(&mut self, address: u64) {
        self.allocations.retain(|a| a.base != address);
    }

    /// Writes `bytes` at `address` from the host, any alignment; they count as defined.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let found = self.find(address, bytes.len()).ok_or_else(|| self.outside(address, bytes.len()))?;
        found.write((address - found.base) as usize, bytes);
        Ok(())
    }

    /// Reads `bytes.len()` bytes at `address`, any alignment; a byte that nothing has written is a fault.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let defined = self.read_any(address, bytes)?;
        match defined.iter().position(|d| !d) {
            None => Ok(()),
            Some(at) => {
                let missing = defined.iter().filter(|d| !**d).count();
                let name = self.find(address, 1).map_or("", |a| a.name.as_str());
                let message = format!("{missing} of {} bytes read from `{name}` were never written", bytes.len());
                Err(Fault::new(FaultKind::UndefinedRead, Some(address + at as u64), message))
            }
        }
    }

    /// Reads `bytes.len()` bytes at `address` and says for each whether it was ever written.
    pub fn read_any(&self, address: u64, bytes: &mut [u8]) -> Result<Vec<bool>, Fault> {
        let found = self.find(address, bytes.len()).ok_or_else(|| self.outside(address, bytes.len()))?;
        let offset = (address - found.base) as usize;
        found.read(offset, bytes);
        Ok((offset..offset + bytes.len()).map(|at| found.is_defined(at, 1)).collect())
    }

    /// Forgets that the `bytes` bytes at `address` were ever written; what lies outside every allocation is ignored.
    pub fn undefine(&self, address: u64, bytes: usize) {
        if let Some(found) = self.find(address, bytes) {
            found.undefine((address - found.base) as usize, bytes);
        }
    }

    /// The allocation that holds all of `address .. address + bytes`.
    pub(crate) fn find(&self, address: u64, bytes: usize) -> Option<&Allocation> {
        let after = self.allocations.partition_point(|a| a.base <= address);
        let found = self.allocations.get(after.checked_sub(1)?)?;
        let offset = address - found.base;
        (offset.checked_add(bytes as u64)? <= found.bytes as u64).then_some(found)
    }

    /// The fault of an access outside every allocation, with the nearest one named.
    pub(crate) fn outside(&self, address: u64, bytes: usize) -> Fault {
        let distance = |a: &Allocation| {
            let end = a.base + a.bytes as u64;
            if address < a.base { a.base - address } else { (address + bytes as u64).saturating_sub(end) }
        };
        let message = match self.allocations.iter().min_by_key(|a| distance(a)) {
            None => format!("{bytes} bytes outside every allocation (there is none)"),
            Some(near) => {
                let (name, size, by) = (&near.name, near.bytes, distance(near));
                let side = if address < near.base { "before the start" } else { "past the end" };
                format!("{bytes} bytes outside every allocation; nearest is `{name}` ({size} bytes), {by} bytes {side}")
            }
        };
        Fault::new(FaultKind::OutOfBounds, Some(address), message)
    }
}
