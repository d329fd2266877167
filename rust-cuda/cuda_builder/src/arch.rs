//! The architectures that PTX is made for.
use crate::Error;

/// A compute capability, and the flags with which rustc compiles for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch {
    /// The name in PTX's `.target`.
    pub name: &'static str,
    /// The PTX version to ask for, since the capability alone would give one that is too old.
    pub(crate) ptx_feature: &'static str,
}

impl Arch {
    /// All that the builder knows. `sm_80` runs on any later GPU too, and what only they know stands in it as comments:
    /// [`crate::promote`].
    ///
    /// Left to itself LLVM takes PTX 7.0; the cache hints of loads need 7.4.
    pub const ALL: [Arch; 1] = [Arch { name: "sm_80", ptx_feature: "ptx74" }];

    /// The architecture of that name.
    pub fn named(name: &str) -> Result<Arch, Error> {
        Arch::ALL.into_iter().find(|arch| arch.name == name).ok_or_else(|| Error::Arch { name: name.to_owned() })
    }

    /// rustc's flags for this architecture.
    pub(crate) fn flags(self) -> Vec<String> {
        vec![format!("-Ctarget-cpu={}", self.name), format!("-Ctarget-feature=+{}", self.ptx_feature)]
    }
}
