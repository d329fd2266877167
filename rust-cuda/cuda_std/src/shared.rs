//! Shared memory: static arrays, the block's dynamic share, loads and stores.
//!
//! Rust cannot place a `static` there, so arrays are declared in PTX: [`shared!`](crate::shared!) for those of a fixed
//! size, [`dynamic`] for the bytes that the launch asks for. Both give a [`Shared`].
use core::marker::PhantomData;

use crate::instruction::ptx;
use crate::word::access;

#[cfg(target_arch = "nvptx64")]
core::arch::global_asm!(".extern .shared .align 1024 .b8 dynamic_shared[];");

/// What one instruction loads or stores: `u8`, `u16`, `u32`, `i32`, `f32`, `u64`, and pairs and quadruples of `u32` and `f32`.
pub trait Word: Copy {
    /// Loads a word.
    ///
    /// # Safety
    /// `address` is an aligned shared address of a written word; no other thread writes it without a barrier between.
    unsafe fn load(address: u32) -> Self;
    /// Stores a word.
    ///
    /// # Safety
    /// `address` is an aligned shared address; no other thread touches the word without a barrier between.
    unsafe fn store(address: u32, value: Self);
}

access! { Word, u32, reg32;
    loads { load "ld.shared" }
    stores { store "st.shared" }
}

/// The start of an array in shared memory.
pub struct Shared<T> {
    address: u32,
    element: PhantomData<*mut T>,
}

impl<T> Clone for Shared<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    /// The array at a shared address.
    #[inline(always)]
    pub const fn from_address(address: u32) -> Shared<T> {
        Shared { address, element: PhantomData }
    }

    /// The 32-bit shared address, as `ldmatrix` and `cp.async` take it.
    #[inline(always)]
    pub const fn address(self) -> u32 {
        self.address
    }

    /// The array that begins `count` elements further on.
    #[inline(always)]
    pub const fn offset(self, count: u32) -> Shared<T> {
        Shared::from_address(self.address + count * size_of::<T>() as u32)
    }

    /// The same bytes as elements of another type.
    #[inline(always)]
    pub const fn cast<U>(self) -> Shared<U> {
        Shared::from_address(self.address)
    }

    /// The generic pointer, for Rust's own loads and stores; slower than [`Shared::load`], since the chip has to find the
    /// memory that it points to.
    #[inline(always)]
    pub fn pointer(self) -> *mut T {
        let pointer: *mut T;
        // SAFETY: arithmetic on an address.
        ptx!("{{ .reg .b64 wide; cvt.u64.u32 wide, {1}; cvta.shared.u64 {0}, wide; }}", out(reg64) pointer,
            in(reg32) self.address, options(pure, nomem, nostack));
        pointer
    }
}

impl<T: Word> Shared<T> {
    /// Loads element `index`.
    ///
    /// # Safety
    /// The element is within the array and written; no other thread writes it without a barrier between.
    #[inline(always)]
    pub unsafe fn load(self, index: u32) -> T {
        // SAFETY: the caller's promise.
        unsafe { T::load(self.offset(index).address) }
    }

    /// Stores element `index`.
    ///
    /// # Safety
    /// The element is within the array; no other thread touches it without a barrier between.
    #[inline(always)]
    pub unsafe fn store(self, index: u32, value: T) {
        // SAFETY: the caller's promise.
        unsafe { T::store(self.offset(index).address, value) }
    }
}

impl Shared<u32> {
    /// Adds to element `index` modulo 2³², without ordering anything else; gives the value before.
    ///
    /// # Safety
    /// The element is within the array and written; others touch it by atomics alone without a barrier between.
    #[inline(always)]
    pub unsafe fn atomic_add(self, index: u32, value: u32) -> u32 {
        let address = self.offset(index).address;
        let old: u32;
        // SAFETY: the caller's promise.
        ptx!("atom.relaxed.cta.shared.add.u32 {}, [{}], {};", out(reg32) old, in(reg32) address, in(reg32) value,
            options(nostack));
        old
    }
}

/// The dynamic shared memory of the block, as many bytes as the launch asked for; aligned to 1024 bytes, as
/// [`crate::wgmma`]'s matrices have to be.
#[inline(always)]
pub fn dynamic<T>() -> Shared<T> {
    let address: u32;
    // SAFETY: the address of a symbol that this module declares.
    ptx!("mov.u32 {}, dynamic_shared;", out(reg32) address, options(pure, nomem, nostack));
    Shared::from_address(address)
}

/// Declares a static shared array and a function that gives it: `shared! { fn partial_sums() -> [f32; 32]; }`.
///
/// It takes `size_of` that many bytes of every kernel that calls the function, aligned to 16. The name is a symbol of the
/// whole PTX module, so it is unique among a crate's kernels. The crate enables `#![feature(asm_experimental_arch)]`.
#[macro_export]
macro_rules! shared {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident() -> [$type:ty; $count:expr];)+) => {$(
        core::arch::global_asm!(
            concat!(".shared .align 16 .b8 ", stringify!($name), "[{}];"),
            const size_of::<[$type; $count]>(),
        );

        $(#[$meta])*
        #[inline(always)]
        $visibility fn $name() -> $crate::shared::Shared<$type> {
            let address: u32;
            // SAFETY: the address of the symbol declared above.
            unsafe {
                core::arch::asm!(
                    concat!("mov.u32 {}, ", stringify!($name), ";"),
                    out(reg32) address,
                    options(pure, nomem, nostack),
                );
            }
            $crate::shared::Shared::from_address(address)
        }
    )+};
}
