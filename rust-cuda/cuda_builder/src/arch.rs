//! The architectures that PTX is made for.
use crate::Error;

/// A compute capability, and the flags with which rustc compiles for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch {
    /// The name in PTX's `.target`.
    pub name: &'static str,
    /// The PTX version to ask for where the capability alone would give one that is too old.
    pub(crate) ptx_feature: Option<&'static str>,
}

impl Arch {
    /// All that the builder knows. `sm_80` runs on any later GPU too; `sm_90a` on compute capability 9.0 alone.
    ///
    /// Left to itself LLVM takes PTX 7.0 for `sm_80`; the cache hints of loads need 7.4.
    pub const ALL: [Arch; 2] =
        [Arch { name: "sm_80", ptx_feature: Some("ptx74") }, Arch { name: "sm_90a", ptx_feature: None }];

    /// The architecture of that name.
    pub fn named(name: &str) -> Result<Arch, Error> {
        Arch::ALL.into_iter().find(|arch| arch.name == name).ok_or_else(|| Error::Arch { name: name.to_owned() })
    }

    /// rustc's flags for this architecture.
    pub(crate) fn flags(self) -> Vec<String> {
        let mut flags = vec![format!("-Ctarget-cpu={}", self.name)];
        flags.extend(self.ptx_feature.map(|feature| format!("-Ctarget-feature=+{feature}")));
        flags
    }
}
