//! A decoded entry: instructions with numbered registers and resolved targets, and what a launch must prepare.

use crate::lanes::{LaneFn, Reg, Slot};
use crate::parse::Space;
use crate::types::{Class, Type};

/// Marks "no instruction": the reconvergence point of a branch whose sides meet only at the exit.
pub const NOWHERE: u32 = u32::MAX;

/// Executed only in lanes where the predicate (or its complement) holds.
#[derive(Clone, Copy)]
pub struct Guard {
    pub slot: Slot,
    pub negated: bool,
}

pub struct Inst {
    pub guard: Option<Guard>,
    /// Some register that it reads or writes may be undefined, so definedness is followed through it.
    pub tracked: bool,
    pub op: Op,
}

/// What is known of an instruction besides how to run it.
pub struct Meta {
    pub line: u32,
    pub reads: Vec<Reg>,
    pub writes: Vec<Reg>,
}

pub enum Op {
    /// Pure arithmetic, lane by lane.
    Lanes(LaneFn),
    /// `d = p ? a : b`: apart from `Lanes` only so that an undefined operand that is not chosen does no harm.
    Select {
        run: LaneFn,
        a: Reg,
        b: Reg,
        p: Slot,
        negated: bool,
    },
    Load(Box<Access>),
    Store(Box<Access>),
    Atomic(Box<Atomic>),
    CopyAsync(Box<CopyAsync>),
    CopyCommit,
    /// All but the given number of latest groups; `None`: everything, committed or not.
    CopyWait(Option<u32>),
    LoadMatrix(Box<LoadMatrix>),
    Mma(Box<Mma>),
    Product(Box<Product>),
    ProductFence,
    ProductCommit,
    /// All but the given number of latest groups.
    ProductWait(u32),
    /// What the thread has written to shared memory is there for products too.
    ProxyFence,
    /// Between devices.
    Fence(Order),
    Branch {
        target: u32,
        reconverge: u32,
    },
    Switch {
        index: Slot,
        targets: Vec<u32>,
        reconverge: u32,
    },
    Exit,
    Trap,
    Nothing,
    Barrier(Box<Barrier>),
    /// Half of the barrier of all threads of the cluster; a release orders what the block did.
    ClusterArrive {
        release: bool,
    },
    ClusterWait,
    /// What the thread has opened is there for other blocks behind its next arrival.
    MailboxFence,
    MailboxOpen(MailboxAccess),
    /// Arrives, and expects so many bytes more.
    MailboxExpect(MailboxAccess),
    /// Whether the phase of this parity is complete.
    MailboxTest {
        d: Slot,
        access: MailboxAccess,
    },
    SendAsync(Box<SendAsync>),
    WarpBarrier {
        members: Slot,
    },
    Shuffle(Box<Shuffle>),
    Vote {
        mode: Vote,
        d: Reg,
        p: Slot,
        negated: bool,
        members: Slot,
    },
    Match {
        all: bool,
        d: Slot,
        p: Option<Slot>,
        value: Reg,
        members: Slot,
    },
    Reduce {
        op: AtomicOp,
        ty: Type,
        d: Slot,
        a: Slot,
        members: Slot,
    },
    ActiveMask {
        d: Slot,
    },
    /// A clock: counts the warp's instructions.
    Clock {
        d: Reg,
    },
    /// Decoded only so far that its name is known; running it is a fault.
    Unknown(String),
}

/// Base address of an access.
#[derive(Clone, Copy)]
pub struct Address {
    pub base: Reg,
    pub offset: i64,
    pub space: Space,
}

/// A load or a store.
pub struct Access {
    pub address: Address,
    pub ty: Type,
    /// One per element of the vector; `None` for the sink `_` of a load.
    pub values: Vec<Option<Reg>>,
    /// Volatile, relaxed, acquire or release: ordered by the program itself, so no race with others like it.
    pub strong: bool,
    pub order: Order,
}

/// What an access orders between devices, of which one sees only what is released to the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Order {
    /// Strong at the scope of the system: other devices see it, and it sees them.
    pub system: bool,
    /// What the thread did before is ordered before it.
    pub release: bool,
    /// What the thread does behind is ordered behind it.
    pub acquire: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareSwap,
    Increment,
    Decrement,
}

pub struct Atomic {
    pub address: Address,
    pub op: AtomicOp,
    pub ty: Type,
    pub order: Order,
    /// `None` for `red` and the sink.
    pub d: Option<Reg>,
    pub b: Reg,
    pub c: Option<Reg>,
}

/// `cp.async`
pub struct CopyAsync {
    pub to: Address,
    pub from: Address,
    pub bytes: usize,
    /// How many of the bytes are read; the rest is zero.
    pub source_bytes: Option<Slot>,
}

/// An access to an `mbarrier`, with its operand.
#[derive(Clone, Copy)]
pub struct MailboxAccess {
    pub address: Address,
    pub operand: Slot,
}

/// `st.async`
pub struct SendAsync {
    /// Addresses of the cluster, as `mapa` gives them.
    pub to: Address,
    pub mailbox: Address,
    pub ty: Type,
    pub values: Vec<Reg>,
}

/// `ldmatrix`
pub struct LoadMatrix {
    pub address: Address,
    pub d: Vec<Slot>,
    pub transposed: bool,
}

/// `mma.sync.aligned.m16n8k{8,16}.row.col.f32.T.T.f32`
pub struct Mma {
    pub half: Type,
    pub d: [Slot; 4],
    pub a: Vec<Slot>,
    pub b: Vec<Slot>,
    pub c: [Slot; 4],
}

/// `wgmma.mma_async.sync.aligned.m64nNk16.f32.bf16.bf16`
pub struct Product {
    /// Four for every eight columns.
    pub d: Vec<Slot>,
    pub a: Left,
    /// A descriptor.
    pub b: Slot,
    /// Whether the result is added to d.
    pub accumulates: bool,
    /// Whether the lines of b in memory are its rows, and not its columns.
    pub by_rows: bool,
}

/// Operand a of a product.
pub enum Left {
    Registers([Slot; 4]),
    /// A descriptor; its lines are rows.
    Memory(Slot),
}

/// `bar` and `barrier`
pub struct Barrier {
    pub id: Slot,
    pub threads: Option<Slot>,
    pub kind: BarrierKind,
}

pub enum BarrierKind {
    Sync,
    Arrive,
    /// `bar.red`: the destination and the predicate that is counted or joined over all threads.
    Reduce {
        mode: Vote,
        d: Reg,
        p: Slot,
        negated: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

pub struct Shuffle {
    pub mode: ShuffleMode,
    pub d: Slot,
    pub p: Option<Slot>,
    pub a: Slot,
    pub b: Slot,
    pub c: Slot,
    pub members: Slot,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vote {
    Ballot,
    Any,
    All,
    Uniform,
    Count,
}

/// A register whose value is known before the first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Special {
    Thread(usize),
    BlockDim(usize),
    Block(usize),
    GridDim(usize),
    Lane,
    Warp,
    WarpCount,
    MaskEq,
    MaskLe,
    MaskLt,
    MaskGe,
    MaskGt,
    DynamicSharedSize,
    TotalSharedSize,
    WarpSize,
    /// Number of the block in its cluster.
    ClusterRank,
    /// Blocks of a cluster.
    ClusterSize,
    /// Number of the cluster in the grid.
    Cluster(usize),
    /// Clusters of the grid.
    ClusterCount(usize),
    Zero,
    One,
}

#[derive(Default)]
pub struct Program {
    pub name: String,
    pub insts: Vec<Inst>,
    pub metas: Vec<Meta>,
    /// Registers by class.
    pub registers: [u32; 4],
    pub constants: Vec<(Reg, u64)>,
    pub specials: Vec<(Reg, Special)>,
    /// Registers that may be read before they are written.
    pub undefined: Vec<Reg>,
    /// Which registers of 32 bits products own while they run; empty where there are no products.
    pub owned: Vec<bool>,
    /// Bytes of the static shared variables; the dynamic ones start behind them.
    pub static_shared: usize,
    /// Bytes of local memory per thread.
    pub local: usize,
    pub params: usize,
    /// Blocks may wait for each other through global memory: all of them stay resident and take turns.
    pub resident: bool,
    /// Blocks of a cluster may wait for each other, or send to each other.
    pub clustered: bool,
}

impl Program {
    pub fn class_count(&self, class: Class) -> usize {
        self.registers[class as usize] as usize
    }
}
