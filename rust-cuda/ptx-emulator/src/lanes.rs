//! A warp's registers as rows of 32 lanes, and the loops that apply one function to every lane of a row.

use crate::types::Class;
use pulp::Arch;
use std::marker::PhantomData;

pub const LANES: usize = 32;
pub const FULL: u32 = u32::MAX;

/// Number of a register within its class.
pub type Slot = u32;

/// A register: its class and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Reg {
    pub class: Class,
    pub slot: Slot,
}

/// All registers of a warp. A predicate is a mask with one bit a lane.
#[derive(Default)]
pub struct Registers {
    pub pred: Vec<u32>,
    pub r16: Vec<[u16; LANES]>,
    pub r32: Vec<[u32; LANES]>,
    pub r64: Vec<[u64; LANES]>,
    /// Which lanes of a register hold a value, by class; kept up to date only for registers that may be undefined.
    pub defined: [Vec<u32>; 4],
}

impl Registers {
    /// The lane's bits, zero-extended.
    pub fn bits(&self, reg: Reg, lane: usize) -> u64 {
        let slot = reg.slot as usize;
        match reg.class {
            Class::Pred => u64::from(self.pred[slot] >> lane & 1),
            Class::R16 => u64::from(self.r16[slot][lane]),
            Class::R32 => u64::from(self.r32[slot][lane]),
            Class::R64 => self.r64[slot][lane],
        }
    }

    /// Sets one lane to the low bits of `bits`.
    pub fn set_bits(&mut self, reg: Reg, lane: usize, bits: u64) {
        let slot = reg.slot as usize;
        match reg.class {
            Class::Pred => self.pred[slot] = self.pred[slot] & !(1 << lane) | ((bits as u32 & 1) << lane),
            Class::R16 => self.r16[slot][lane] = bits as u16,
            Class::R32 => self.r32[slot][lane] = bits as u32,
            Class::R64 => self.r64[slot][lane] = bits,
        }
    }

    /// Sets every lane.
    pub fn splat(&mut self, reg: Reg, bits: u64) {
        (0..LANES).for_each(|lane| self.set_bits(reg, lane, bits));
    }

    pub fn set_pred(&mut self, slot: Slot, mask: u32, bits: u32) {
        let row = &mut self.pred[slot as usize];
        *row = *row & !mask | bits & mask;
    }

    pub fn defined(&self, reg: Reg) -> u32 {
        self.defined[reg.class as usize][reg.slot as usize]
    }

    pub fn defined_mut(&mut self, reg: Reg) -> &mut u32 {
        &mut self.defined[reg.class as usize][reg.slot as usize]
    }
}

/// A type that one lane of a register row can be read as.
pub trait Lane: Copy + Send + Sync + 'static {
    type Bits: Copy + Default;
    fn row(regs: &Registers, slot: Slot) -> &[Self::Bits; LANES];
    fn row_mut(regs: &mut Registers, slot: Slot) -> &mut [Self::Bits; LANES];
    fn from_bits(bits: Self::Bits) -> Self;
    fn to_bits(self) -> Self::Bits;
}

/// Implements [`Lane`] for a type kept in the rows of one register file.
macro_rules! lane {
    ($ty:ty, $bits:ty, $file:ident, $from:expr, $to:expr) => {
        impl Lane for $ty {
            type Bits = $bits;
            #[inline(always)]
            fn row(regs: &Registers, slot: Slot) -> &[$bits; LANES] {
                &regs.$file[slot as usize]
            }
            #[inline(always)]
            fn row_mut(regs: &mut Registers, slot: Slot) -> &mut [$bits; LANES] {
                &mut regs.$file[slot as usize]
            }
            #[inline(always)]
            fn from_bits(bits: $bits) -> $ty {
                let from: fn($bits) -> $ty = $from;
                from(bits)
            }
            #[inline(always)]
            fn to_bits(self) -> $bits {
                let to: fn($ty) -> $bits = $to;
                to(self)
            }
        }
    };
}
pub(crate) use lane;

lane!(u16, u16, r16, |x| x, |x| x);
lane!(i16, u16, r16, |x| x as i16, |x| x as u16);
lane!(u32, u32, r32, |x| x, |x| x);
lane!(i32, u32, r32, |x| x as i32, |x| x as u32);
lane!(f32, u32, r32, f32::from_bits, f32::to_bits);
lane!(u64, u64, r64, |x| x, |x| x);
lane!(i64, u64, r64, |x| x as i64, |x| x as u64);
lane!(f64, u64, r64, f64::from_bits, f64::to_bits);

/// A decoded lane-wise instruction: operands and function are captured, the mask says which lanes are written.
pub type LaneFn = Box<dyn Fn(&mut Registers, u32) + Send + Sync>;

#[inline(always)]
fn write<D: Lane>(regs: &mut Registers, d: Slot, out: &[D::Bits; LANES], mask: u32) {
    let row = D::row_mut(regs, d);
    if mask == FULL {
        *row = *out;
        return;
    }
    for l in 0..LANES {
        if mask >> l & 1 == 1 {
            row[l] = out[l];
        }
    }
}

/// A loop over the lanes, to be compiled for whichever instruction set the host has.
///
/// Only a method that is always inlined is sure to end up inside the function that [`pulp`] compiles for a wider instruction set;
/// a closure may be left outside, and every `mul_add` in it would be a call.
struct Loop<'r, F, const N: usize> {
    regs: &'r mut Registers,
    d: Slot,
    sources: [Slot; N],
    mask: u32,
    f: F,
}

/// Gives `Loop` a body under a name of its own for each shape of operation.
macro_rules! loop_over {
    ($name:ident, $n:literal, ($($t:ident $bound:path),*), $f:path, $output:ty, |$self:ident| $body:block) => {
        struct $name<'r, F, $($t),*>(Loop<'r, F, $n>, PhantomData<($($t,)*)>);
        impl<F: $f, $($t: $bound),*> pulp::NullaryFnOnce for $name<'_, F, $($t),*> {
            type Output = $output;
            #[inline(always)]
            fn call(self) -> $output {
                let $self = self.0;
                $body
            }
        }
    };
}

loop_over!(Unary, 1, (D Lane, A Lane), Fn(A) -> D, (), |this| {
    let a = A::row(this.regs, this.sources[0]);
    let mut out = [D::Bits::default(); LANES];
    for l in 0..LANES {
        out[l] = (this.f)(A::from_bits(a[l])).to_bits();
    }
    write::<D>(this.regs, this.d, &out, this.mask);
});

loop_over!(Binary, 2, (D Lane, A Lane, B Lane), Fn(A, B) -> D, (), |this| {
    let (a, b) = (A::row(this.regs, this.sources[0]), B::row(this.regs, this.sources[1]));
    let mut out = [D::Bits::default(); LANES];
    for l in 0..LANES {
        out[l] = (this.f)(A::from_bits(a[l]), B::from_bits(b[l])).to_bits();
    }
    write::<D>(this.regs, this.d, &out, this.mask);
});

loop_over!(Ternary, 3, (D Lane, A Lane, B Lane, C Lane), Fn(A, B, C) -> D, (), |this| {
    let [a, b, c] = this.sources;
    let (a, b, c) = (A::row(this.regs, a), B::row(this.regs, b), C::row(this.regs, c));
    let mut out = [D::Bits::default(); LANES];
    for l in 0..LANES {
        out[l] = (this.f)(A::from_bits(a[l]), B::from_bits(b[l]), C::from_bits(c[l])).to_bits();
    }
    write::<D>(this.regs, this.d, &out, this.mask);
});

// The lanes where the comparison holds.
loop_over!(Compare, 2, (A Lane), Fn(A, A) -> bool, u32, |this| {
    let (a, b) = (A::row(this.regs, this.sources[0]), A::row(this.regs, this.sources[1]));
    let mut holds = 0u32;
    for l in 0..LANES {
        holds |= u32::from((this.f)(A::from_bits(a[l]), A::from_bits(b[l]))) << l;
    }
    holds
});

/// `d = f(a)` in every lane of the mask.
pub fn unary<D: Lane, A: Lane>(d: Slot, a: Slot, f: impl Fn(A) -> D + Copy + Send + Sync + 'static) -> LaneFn {
    let arch = Arch::new();
    Box::new(move |regs, mask| {
        arch.dispatch(Unary::<_, D, A>(Loop { regs, d, sources: [a], mask, f }, PhantomData));
    })
}

/// `d = f(a, b)` in every lane of the mask.
pub fn binary<D: Lane, A: Lane, B: Lane>(
    d: Slot,
    sources: [Slot; 2],
    f: impl Fn(A, B) -> D + Copy + Send + Sync + 'static,
) -> LaneFn {
    let arch = Arch::new();
    Box::new(move |regs, mask| {
        arch.dispatch(Binary::<_, D, A, B>(Loop { regs, d, sources, mask, f }, PhantomData));
    })
}

/// `d = f(a, b, c)` in every lane of the mask.
pub fn ternary<D: Lane, A: Lane, B: Lane, C: Lane>(
    d: Slot,
    sources: [Slot; 3],
    f: impl Fn(A, B, C) -> D + Copy + Send + Sync + 'static,
) -> LaneFn {
    let arch = Arch::new();
    Box::new(move |regs, mask| {
        arch.dispatch(Ternary::<_, D, A, B, C>(Loop { regs, d, sources, mask, f }, PhantomData));
    })
}

/// The lanes where `f(a, b)` holds, joined with a predicate by `combine`, to `d` and its complement's result to `q`.
pub fn compare<A: Lane>(
    set: SetPredicate,
    sources: [Slot; 2],
    f: impl Fn(A, A) -> bool + Copy + Send + Sync + 'static,
) -> LaneFn {
    let arch = Arch::new();
    Box::new(move |regs, mask| {
        let holds = arch.dispatch(Compare::<_, A>(Loop { regs, d: 0, sources, mask, f }, PhantomData));
        set.write(regs, mask, holds);
    })
}

/// How a comparison's result joins with a further predicate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    And,
    Or,
    Xor,
}

/// Where a comparison's result goes: `p = holds ⊕ c` and, if present, `q = !holds ⊕ c`.
#[derive(Clone, Copy)]
pub struct SetPredicate {
    pub p: Option<Slot>,
    pub q: Option<Slot>,
    /// The operation, the predicate, and whether the predicate is negated first.
    pub combine: Option<(Combine, Slot, bool)>,
}

impl SetPredicate {
    #[inline(always)]
    fn write(&self, regs: &mut Registers, mask: u32, holds: u32) {
        let join = |x: u32, regs: &Registers| match self.combine {
            None => x,
            Some((op, c, negated)) => {
                let c = regs.pred[c as usize] ^ if negated { FULL } else { 0 };
                match op {
                    Combine::And => x & c,
                    Combine::Or => x | c,
                    Combine::Xor => x ^ c,
                }
            }
        };
        let (p, q) = (join(holds, regs), join(!holds, regs));
        if let Some(slot) = self.p {
            regs.set_pred(slot, mask, p);
        }
        if let Some(slot) = self.q {
            regs.set_pred(slot, mask, q);
        }
    }
}

/// `d = p ? a : b` in every lane of the mask.
pub fn select<D: Lane>(d: Slot, [a, b]: [Slot; 2], p: Slot, negated: bool) -> LaneFn {
    Box::new(move |regs, mask| {
        let (ra, rb) = (D::row(regs, a), D::row(regs, b));
        let chosen = regs.pred[p as usize] ^ if negated { FULL } else { 0 };
        let mut out = [D::Bits::default(); LANES];
        for l in 0..LANES {
            out[l] = if chosen >> l & 1 == 1 { ra[l] } else { rb[l] };
        }
        write::<D>(regs, d, &out, mask);
    })
}
