//! What a launch, or a host's access to device memory, can stop with.

use std::fmt;

/// Kind of a [`Fault`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// An access outside every allocation, or outside the block's shared, the thread's local or the parameter memory.
    OutOfBounds,
    /// An address that is not a multiple of the size of the access.
    Misaligned,
    /// A read of memory that nothing has written, or whose asynchronous copy has not been waited for; a product's read of what
    /// no proxy fence has made visible to it.
    UndefinedRead,
    /// A register that nothing has written decides an address, a branch or a stored value.
    UndefinedRegister,
    /// A register of a `wgmma` product used before the product was waited for, or given to one without a fence.
    UnfinishedProduct,
    /// Two threads of a block touch the same byte of shared memory, one of them writing, with no barrier in between.
    SharedRace,
    /// Blocks of a cluster that do not wait for each other: a store to shared memory that its owner has not announced, has
    /// touched or has left, or that it does not wait for.
    ClusterRace,
    /// A barrier that only a part of the running threads reaches.
    DivergentBarrier,
    /// A warp-wide instruction whose lanes are not all there.
    DivergentCollective,
    /// `trap`
    Trap,
    /// An instruction that this machine does not know, in the entry that was launched.
    UnknownInstruction,
    /// A warp has used up its budget of instructions.
    RunawayLoop,
    /// Every block waits for another.
    Deadlock,
    /// The entry, the grid, the block or the parameters do not fit the module.
    BadLaunch,
}

/// Where in a kernel a fault arose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Name of the entry.
    pub kernel: String,
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// That line, trimmed.
    pub text: String,
    /// `%ctaid`
    pub block: [u32; 3],
    /// `%tid`
    pub thread: [u32; 3],
}

/// A defect found while a kernel ran, or a bad access by the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The generic or state-space address, where there is one.
    pub address: Option<u64>,
    /// The particulars, in words.
    pub message: String,
    /// The instruction and thread; `None` for an access by the host or a launch that never began.
    pub place: Option<Box<Place>>,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, address: Option<u64>, message: impl Into<String>) -> Fault {
        Fault { kind, address, message: message.into(), place: None }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::OutOfBounds => "out of bounds",
            FaultKind::Misaligned => "misaligned access",
            FaultKind::UndefinedRead => "undefined read",
            FaultKind::UndefinedRegister => "undefined register",
            FaultKind::UnfinishedProduct => "unfinished product",
            FaultKind::SharedRace => "shared-memory race",
            FaultKind::ClusterRace => "race in a cluster",
            FaultKind::DivergentBarrier => "divergent barrier",
            FaultKind::DivergentCollective => "divergent collective",
            FaultKind::Trap => "trap",
            FaultKind::UnknownInstruction => "unknown instruction",
            FaultKind::RunawayLoop => "runaway loop",
            FaultKind::Deadlock => "deadlock",
            FaultKind::BadLaunch => "bad launch",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        if let Some(address) = self.address {
            write!(f, " (address {address:#x})")?;
        }
        if let Some(place) = &self.place {
            let ([bx, by, bz], [tx, ty, tz]) = (place.block, place.thread);
            write!(f, "\n  in {}, block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz})", place.kernel)?;
            write!(f, "\n  PTX line {}: {}", place.line, place.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// A fault of one lane, before the kernel and the thread are known.
#[derive(Debug)]
pub struct Trouble {
    pub lane: usize,
    pub fault: Fault,
}

impl Trouble {
    pub fn new(kind: FaultKind, lane: usize, address: Option<u64>, message: impl Into<String>) -> Box<Trouble> {
        Box::new(Trouble { lane, fault: Fault::new(kind, address, message) })
    }

    pub fn misaligned(lane: usize, address: u64, bytes: usize) -> Box<Trouble> {
        let message = format!("an access of {bytes} bytes needs an address that is a multiple of {bytes}");
        Trouble::new(FaultKind::Misaligned, lane, Some(address), message)
    }
}
