//! `access!`: loads and stores of 1 to 16 bytes as one instruction each, for every type that a kernel moves.

/// Implements functions `unsafe fn(address) -> Self` and `unsafe fn(address, Self)` of a trait for every word type.
///
/// Loads keep their place in the program (no `pure`): LLVM would otherwise move a load that was placed early, to hide its
/// latency, down to its first use.
macro_rules! access {
    ($trait:ident, $address:ident, $class:ident; loads $loads:tt stores $stores:tt) => {
        $crate::word::access!(@byte $trait $address $class $loads $stores);
        $crate::word::access!(@scalar $trait $address $class u16 reg16 "b16" $loads $stores);
        $crate::word::access!(@scalar $trait $address $class u32 reg32 "b32" $loads $stores);
        $crate::word::access!(@scalar $trait $address $class i32 reg32 "b32" $loads $stores);
        $crate::word::access!(@scalar $trait $address $class f32 reg32 "f32" $loads $stores);
        $crate::word::access!(@scalar $trait $address $class u64 reg64 "b64" $loads $stores);
        $crate::word::access!(@pair $trait $address $class u32 "b32" $loads $stores);
        $crate::word::access!(@pair $trait $address $class f32 "f32" $loads $stores);
        $crate::word::access!(@quad $trait $address $class u32 "b32" $loads $stores);
        $crate::word::access!(@quad $trait $address $class f32 "f32" $loads $stores);
    };
    (@byte $trait:ident $address:ident $class:ident
        {$($load:ident $load_asm:literal)*} {$($store:ident $store_asm:literal)*}) => {
        impl $trait for u8 {
            $(#[inline(always)]
            unsafe fn $load(address: $address) -> Self {
                let value: u16;
                // SAFETY: the caller's promise.
                ptx!(concat!($load_asm, ".b8 {}, [{}];"), out(reg16) value, in($class) address, options(nostack));
                value as u8
            })*
            $(#[inline(always)]
            unsafe fn $store(address: $address, value: Self) {
                // SAFETY: the caller's promise.
                ptx!(concat!($store_asm, ".b8 [{}], {};"), in($class) address, in(reg16) u16::from(value),
                    options(nostack));
            })*
        }
    };
    (@scalar $trait:ident $address:ident $class:ident $type:ident $register:ident $suffix:literal
        {$($load:ident $load_asm:literal)*} {$($store:ident $store_asm:literal)*}) => {
        impl $trait for $type {
            $(#[inline(always)]
            unsafe fn $load(address: $address) -> Self {
                let value: $type;
                // SAFETY: the caller's promise.
                ptx!(concat!($load_asm, ".", $suffix, " {}, [{}];"), out($register) value, in($class) address,
                    options(nostack));
                value
            })*
            $(#[inline(always)]
            unsafe fn $store(address: $address, value: Self) {
                // SAFETY: the caller's promise.
                ptx!(concat!($store_asm, ".", $suffix, " [{}], {};"), in($class) address, in($register) value,
                    options(nostack));
            })*
        }
    };
    (@pair $trait:ident $address:ident $class:ident $type:ident $suffix:literal
        {$($load:ident $load_asm:literal)*} {$($store:ident $store_asm:literal)*}) => {
        impl $trait for [$type; 2] {
            $(#[inline(always)]
            unsafe fn $load(address: $address) -> Self {
                let (a, b): ($type, $type);
                // SAFETY: the caller's promise.
                ptx!(concat!($load_asm, ".v2.", $suffix, " {{{}, {}}}, [{}];"), out(reg32) a, out(reg32) b,
                    in($class) address, options(nostack));
                [a, b]
            })*
            $(#[inline(always)]
            unsafe fn $store(address: $address, value: Self) {
                // SAFETY: the caller's promise.
                ptx!(concat!($store_asm, ".v2.", $suffix, " [{}], {{{}, {}}};"), in($class) address,
                    in(reg32) value[0], in(reg32) value[1], options(nostack));
            })*
        }
    };
    (@quad $trait:ident $address:ident $class:ident $type:ident $suffix:literal
        {$($load:ident $load_asm:literal)*} {$($store:ident $store_asm:literal)*}) => {
        impl $trait for [$type; 4] {
            $(#[inline(always)]
            unsafe fn $load(address: $address) -> Self {
                let (a, b, c, d): ($type, $type, $type, $type);
                // SAFETY: the caller's promise.
                ptx!(concat!($load_asm, ".v4.", $suffix, " {{{}, {}, {}, {}}}, [{}];"), out(reg32) a, out(reg32) b,
                    out(reg32) c, out(reg32) d, in($class) address, options(nostack));
                [a, b, c, d]
            })*
            $(#[inline(always)]
            unsafe fn $store(address: $address, value: Self) {
                // SAFETY: the caller's promise.
                ptx!(concat!($store_asm, ".v4.", $suffix, " [{}], {{{}, {}, {}, {}}};"), in($class) address,
                    in(reg32) value[0], in(reg32) value[1], in(reg32) value[2], in(reg32) value[3], options(nostack));
            })*
        }
    };
}
pub(crate) use access;
