//! `Kernel`: what an args struct promises about its launch, its requirements and its cost.
use crate::Element;

/// A `#[repr(C)]` struct of kernel arguments, made by `kernel_args!`.
pub trait Args: Copy + core::fmt::Debug + Send + Sync + 'static {
    /// Rewrites every pointer to `resolve(buffer, element offset, element)`.
    fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64);

    /// Writes the struct as the kernel's parameter block; `out` has `size_of::<Self>()` bytes, padding stays as it is.
    fn write(&self, out: &mut [u8]);
}

/// Limits of the device that a launch is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Compute capability, for example `(9, 0)`.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most bytes of shared memory that one block may ask for.
    pub shared_bytes_per_block: u32,
    /// Whether blocks are launched in clusters, which compute capability 9.0 and above know.
    pub clusters: bool,
}

impl DeviceInfo {
    /// Whether entries that multiply by warpgroups run here: on compute capability 9.0 alone.
    pub fn has_wgmma(&self) -> bool {
        self.compute_capability == (9, 0)
    }
}

/// Which entry point to launch, and how wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The PTX symbol: the kernel's name, or the name and a variant.
    pub symbol: &'static str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
    /// Whether the entry point may start before the kernel in front has ended: it waits for that by
    /// `cuda_std::grid::wait_for_dependencies` before it reads what is not constant, and before it writes; or at its end, where its
    /// arguments say that both are settled (`Gemv::x_settled`).
    pub overlaps: bool,
    /// Blocks, neighbours in x, that run at the same time and reach each other's shared memory; 1 where each is for itself.
    pub cluster: u32,
}

impl Launch {
    /// A launch of `blocks` blocks of `threads` threads in x, without dynamic shared memory.
    pub const fn linear(symbol: &'static str, blocks: u32, threads: u32) -> Launch {
        Launch { symbol, grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes: 0, overlaps: false, cluster: 1 }
    }
}

/// One sequence's share of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceShape {
    /// Tokens that this step adds.
    pub new_tokens: u32,
    /// Tokens in the KV cache after this step.
    pub length: u32,
}

/// What a step really holds, as the host knows it; costs that depend on depth are computed from it.
#[derive(Clone, Copy, Debug)]
pub struct StepShape<'a> {
    /// The live sequences.
    pub sequences: &'a [SequenceShape],
    /// Experts that the choices of the layer meet, where they were counted.
    pub experts: Option<u32>,
}

impl StepShape<'_> {
    /// The query-key pairs that causal attention visits: each new token sees those before it, and itself.
    pub fn query_key_pairs(&self, wanted: impl Fn(&SequenceShape) -> bool) -> u64 {
        let pairs = |s: &SequenceShape| {
            let (new, length) = (u64::from(s.new_tokens), u64::from(s.length));
            new * length - new * new.saturating_sub(1) / 2
        };
        self.sequences.iter().filter(|s| wanted(s)).map(pairs).sum()
    }
}

/// An args struct that belongs to a kernel.
pub trait Kernel: Args {
    /// File, PTX symbol, test row, bench row and profile label.
    const NAME: &'static str;

    /// The "Requires" section of the doc block as code; the error says which requirement is not met.
    fn check(&self) -> Result<(), &'static str>;

    /// Symbol, grid, block and shared memory on `device`.
    fn launch(&self, device: &DeviceInfo) -> Launch;

    /// The fewest bytes of device memory that a step of `shape` must read and write.
    fn bytes_moved(&self, shape: &StepShape) -> u64;

    /// Floating-point operations of a step of `shape`; 0 where memory alone counts.
    fn flops(&self, _shape: &StepShape) -> u64 {
        0
    }
}

/// Declares an args struct: `#[repr(C)]`, copyable, with its pointers known to [`Args::resolve`].
macro_rules! kernel_args {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $crate::Args for $name {
            fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, $crate::Element) -> u64) {
                $($crate::Field::resolve(&mut self.$field, resolve);)*
            }

            fn write(&self, out: &mut [u8]) {
                $($crate::Field::write(&self.$field, &mut out[core::mem::offset_of!(Self, $field)..]);)*
            }
        }
    };
}
pub(crate) use kernel_args;

/// Returns the first requirement of `$condition => $message` pairs that does not hold.
macro_rules! require {
    ($($condition:expr => $message:literal,)*) => {{
        $(if !$condition { return Err($message); })*
        Ok(())
    }};
}
pub(crate) use require;
