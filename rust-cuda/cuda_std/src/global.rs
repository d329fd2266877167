//! Global memory: loads and stores of 1, 2, 4, 8 and 16 bytes with cache hints and orderings, atomics.
//!
//! Addresses are aligned to the size of the access, as the hardware demands.
use crate::instruction::ptx;
use crate::word::access;

/// What one instruction loads or stores: `u8`, `u16`, `u32`, `i32`, `f32`, `u64`, and pairs and quadruples of `u32` and `f32`.
pub trait Word: Copy {
    /// See [`load`].
    ///
    /// # Safety
    /// As for [`load`].
    unsafe fn load(address: u64) -> Self;
    /// See [`load_readonly`].
    ///
    /// # Safety
    /// As for [`load_readonly`].
    unsafe fn load_readonly(address: u64) -> Self;
    /// See [`load_streaming`].
    ///
    /// # Safety
    /// As for [`load_streaming`].
    unsafe fn load_streaming(address: u64) -> Self;
    /// See [`load_volatile`].
    ///
    /// # Safety
    /// As for [`load_volatile`].
    unsafe fn load_volatile(address: u64) -> Self;
    /// See [`store`].
    ///
    /// # Safety
    /// As for [`store`].
    unsafe fn store(address: u64, value: Self);
    /// See [`store_volatile`].
    ///
    /// # Safety
    /// As for [`store_volatile`].
    unsafe fn store_volatile(address: u64, value: Self);
}

access! { Word, u64, reg64;
    loads {
        load "ld.global"
        load_readonly "ld.global.nc"
        load_streaming "ld.global.nc.L1::no_allocate.L2::128B"
        load_volatile "ld.volatile.global"
    }
    stores {
        store "st.global"
        store_volatile "st.volatile.global"
    }
}

/// Loads a word.
///
/// # Safety
/// `address` is an aligned global address of a live, written word; no other thread writes it without a barrier between.
#[inline(always)]
pub unsafe fn load<T: Word>(address: u64) -> T {
    // SAFETY: the caller's promise.
    unsafe { T::load(address) }
}

/// Loads a word that nobody writes while the kernel runs, through the read-only path.
///
/// # Safety
/// As for [`load`]; no thread of the grid writes the word.
#[inline(always)]
pub unsafe fn load_readonly<T: Word>(address: u64) -> T {
    // SAFETY: the caller's promise.
    unsafe { T::load_readonly(address) }
}

/// Loads a word that is used once: it takes no room in L1, where it would push out what is used again, and L2 fetches the
/// whole 128 bytes that the warp is about to ask for.
///
/// # Safety
/// As for [`load_readonly`].
#[inline(always)]
pub unsafe fn load_streaming<T: Word>(address: u64) -> T {
    // SAFETY: the caller's promise.
    unsafe { T::load_streaming(address) }
}

/// Loads a word that another thread may write at any time; without an ordering.
///
/// # Safety
/// `address` is an aligned global address of a live, written word.
#[inline(always)]
pub unsafe fn load_volatile<T: Word>(address: u64) -> T {
    // SAFETY: the caller's promise.
    unsafe { T::load_volatile(address) }
}

/// Brings the line of the L2 cache that `address` lies in from memory, without waiting for it.
///
/// # Safety
/// `address` is a live global address.
#[inline(always)]
pub unsafe fn prefetch(address: u64) {
    // SAFETY: it changes nothing.
    ptx!("prefetch.global.L2 [{}];", in(reg64) address, options(nostack));
}

/// Stores a word.
///
/// # Safety
/// `address` is an aligned global address of a live word; no other thread touches it without a barrier between.
#[inline(always)]
pub unsafe fn store<T: Word>(address: u64, value: T) {
    // SAFETY: the caller's promise.
    unsafe { T::store(address, value) }
}

/// Stores a word that another thread may read at any time; without an ordering.
///
/// # Safety
/// `address` is an aligned global address of a live word.
#[inline(always)]
pub unsafe fn store_volatile<T: Word>(address: u64, value: T) {
    // SAFETY: the caller's promise.
    unsafe { T::store_volatile(address, value) }
}

macro_rules! ordered {
    (loads { $($(#[$meta:meta])* $load:ident $load_asm:literal;)* }
     stores { $($(#[$store_meta:meta])* $store:ident $store_asm:literal;)* }) => {
        $($(#[$meta])*
        ///
        /// # Safety
        /// `address` is an aligned global address of a live, written word.
        #[inline(always)]
        pub unsafe fn $load(address: u64) -> u32 {
            let value: u32;
            // SAFETY: the caller's promise.
            ptx!(concat!($load_asm, " {}, [{}];"), out(reg32) value, in(reg64) address, options(nostack));
            value
        })*
        $($(#[$store_meta])*
        ///
        /// # Safety
        /// `address` is an aligned global address of a live word.
        #[inline(always)]
        pub unsafe fn $store(address: u64, value: u32) {
            // SAFETY: the caller's promise.
            ptx!(concat!($store_asm, " [{}], {};"), in(reg64) address, in(reg32) value, options(nostack));
        })*
    };
}

ordered! {
    loads {
        /// Loads a word that other blocks write, without ordering anything else.
        load_relaxed "ld.relaxed.gpu.global.b32";
        /// Loads a word; what its writer wrote before its [`store_release`] is visible behind it.
        load_acquire "ld.acquire.gpu.global.b32";
        /// Loads a word; what its writer, a thread of another GPU or the host, wrote before its [`store_release_system`] is
        /// visible behind it.
        load_acquire_system "ld.acquire.sys.global.b32";
    }
    stores {
        /// Stores a word that other blocks read, without ordering anything else.
        store_relaxed "st.relaxed.gpu.global.b32";
        /// Stores a word; what this thread wrote before is visible to whoever reads it by [`load_acquire`].
        store_release "st.release.gpu.global.b32";
        /// Stores a word; what this thread wrote before, and what it knows of through a barrier, is visible to whoever reads it
        /// by [`load_acquire_system`], on other GPUs and the host too.
        store_release_system "st.release.sys.global.b32";
    }
}

macro_rules! atomics {
    ($($(#[$meta:meta])* $name:ident $asm:literal;)*) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// `address` is an aligned global address of a live, written word.
        #[inline(always)]
        pub unsafe fn $name(address: u64, value: u32) -> u32 {
            let old: u32;
            // SAFETY: the caller's promise.
            ptx!(concat!($asm, " {}, [{}], {};"), out(reg32) old, in(reg64) address, in(reg32) value, options(nostack));
            old
        }
    )*};
}

atomics! {
    /// Adds modulo 2³², without ordering anything else; gives the value before.
    atomic_add_relaxed "atom.relaxed.gpu.global.add.u32";
    /// Adds modulo 2³², releasing what this thread wrote and acquiring what earlier adders released; gives the value before.
    atomic_add "atom.acq_rel.gpu.global.add.u32";
    /// Stores the larger of two, without ordering anything else; gives the value before.
    atomic_max_relaxed "atom.relaxed.gpu.global.max.u32";
    /// Stores a word, without ordering anything else; gives the value before.
    atomic_exchange_relaxed "atom.relaxed.gpu.global.exch.b32";
}

/// Loads two double words that other GPUs write, each as a whole, without ordering anything else.
///
/// # Safety
/// `address` is a global address of two live, written double words, aligned to both together.
#[inline(always)]
pub unsafe fn load_pair_relaxed_system(address: u64) -> [u64; 2] {
    let (first, second): (u64, u64);
    // SAFETY: the caller's promise.
    ptx!("ld.relaxed.sys.global.v2.b64 {{{}, {}}}, [{}];",
        out(reg64) first, out(reg64) second, in(reg64) address, options(nostack));
    [first, second]
}

/// Stores a double word that other GPUs read, as a whole, without ordering anything else.
///
/// # Safety
/// `address` is an aligned global address of a live double word.
#[inline(always)]
pub unsafe fn store_relaxed_system(address: u64, value: u64) {
    // SAFETY: the caller's promise.
    ptx!("st.relaxed.sys.global.b64 [{}], {};", in(reg64) address, in(reg64) value, options(nostack));
}

/// Stores two double words that other GPUs read, each as a whole, without ordering anything else.
///
/// # Safety
/// `address` is a global address of two live double words, aligned to both together.
#[inline(always)]
pub unsafe fn store_pair_relaxed_system(address: u64, [first, second]: [u64; 2]) {
    // SAFETY: the caller's promise.
    ptx!("st.relaxed.sys.global.v2.b64 [{}], {{{}, {}}};",
        in(reg64) address, in(reg64) first, in(reg64) second, options(nostack));
}

/// Adds to a double word modulo 2⁶⁴, without ordering anything else.
///
/// # Safety
/// `address` is an aligned global address of a live, written double word.
#[inline(always)]
pub unsafe fn add_relaxed(address: u64, value: u64) {
    // SAFETY: the caller's promise.
    ptx!("red.relaxed.gpu.global.add.u64 [{}], {};", in(reg64) address, in(reg64) value, options(nostack));
}

/// Orders all accesses of this thread before it against all behind it, as seen by the whole GPU.
#[inline(always)]
pub fn fence() {
    // SAFETY: a fence touches no memory.
    ptx!("fence.acq_rel.gpu;", options(nostack));
}
