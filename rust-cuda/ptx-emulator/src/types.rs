//! PTX's scalar types and the classes of registers that hold them.

/// A fundamental type of PTX, or a packed pair of floats of 16 or 8 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    Pred,
    B8,
    U8,
    S8,
    B16,
    U16,
    S16,
    F16,
    Bf16,
    E4m3x2,
    B32,
    U32,
    S32,
    F32,
    F16x2,
    Bf16x2,
    B64,
    U64,
    S64,
    F64,
}

/// The register file that a value lives in: predicates are one bit a lane, the rest is named by its width in bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Class {
    Pred,
    R16,
    R32,
    R64,
}

impl Type {
    /// The type that a modifier such as `u32` (without its dot) names.
    pub fn parse(word: &str) -> Option<Type> {
        Some(match word {
            "pred" => Type::Pred,
            "b8" => Type::B8,
            "u8" => Type::U8,
            "s8" => Type::S8,
            "b16" => Type::B16,
            "u16" => Type::U16,
            "s16" => Type::S16,
            "f16" => Type::F16,
            "bf16" => Type::Bf16,
            "e4m3x2" => Type::E4m3x2,
            "b32" => Type::B32,
            "u32" => Type::U32,
            "s32" => Type::S32,
            "f32" => Type::F32,
            "f16x2" => Type::F16x2,
            "bf16x2" => Type::Bf16x2,
            "b64" => Type::B64,
            "u64" => Type::U64,
            "s64" => Type::S64,
            "f64" => Type::F64,
            _ => return None,
        })
    }

    /// Size in bytes (a predicate counts as one).
    pub fn bytes(self) -> usize {
        match self {
            Type::Pred | Type::B8 | Type::U8 | Type::S8 => 1,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 | Type::E4m3x2 => 2,
            Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 => 4,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }

    pub fn bits(self) -> u32 {
        self.bytes() as u32 * 8
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    pub fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::Bf16 | Type::F32 | Type::F64 | Type::F16x2 | Type::Bf16x2)
    }

    /// The register file of this type; 8-bit values live in 16-bit registers.
    pub fn class(self) -> Class {
        match self.bytes() {
            _ if self == Type::Pred => Class::Pred,
            1 | 2 => Class::R16,
            4 => Class::R32,
            _ => Class::R64,
        }
    }
}

impl Class {
    pub fn bytes(self) -> usize {
        match self {
            Class::Pred => 1,
            Class::R16 => 2,
            Class::R32 => 4,
            Class::R64 => 8,
        }
    }
}
