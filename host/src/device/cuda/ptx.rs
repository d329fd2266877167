//! Which PTX a GPU runs.
use crate::error::{Category, Error, Result};

/// The PTX that the build script embeds.
#[expect(dead_code, reason = "the hashes of the PTX serve those who read it, not those who run it")]
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/ptx.rs"));
}

/// PTX for one architecture and those that can run it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ptx {
    /// For example `sm_80`.
    pub architecture: &'static str,
    /// What the driver compiles.
    pub text: &'static str,
}

impl Ptx {
    /// Whether its kernels know how to wait for the one in front, so that they may start before its end.
    pub fn overlaps(&self) -> bool {
        self.architecture != "sm_80"
    }
}

/// Architecture and compiler of each embedded PTX.
pub fn shipped_ptx() -> impl Iterator<Item = (&'static str, &'static str)> {
    embedded::ALL.iter().map(|(architecture, _, compiler)| (*architecture, *compiler))
}

/// The embedded PTX for a compute capability.
///
/// # Errors
/// As [`choose`].
pub fn embedded(capability: (u32, u32)) -> Result<Ptx> {
    let images = embedded::ALL.iter().map(|(architecture, text, _)| Ptx { architecture, text });
    choose(capability, &images.collect::<Vec<_>>())
}

/// The PTX among `images` for a compute capability: `sm_90a` runs on 9.0 alone, `sm_90` from there on, `sm_80` from 8.0 on.
///
/// # Errors
/// The GPU is older than that.
fn choose((major, minor): (u32, u32), images: &[Ptx]) -> Result<Ptx> {
    let of = |architecture| images.iter().find(|ptx| ptx.architecture == architecture).copied();
    let hopper = of("sm_90a").filter(|_| (major, minor) == (9, 0));
    let overlapping = of("sm_90").filter(|_| major >= 9);
    let ampere = of("sm_80").filter(|_| major >= 8);
    hopper.or(overlapping).or(ampere).ok_or_else(|| {
        Error::new(Category::Device, "This GPU is too old")
            .details(format!("expected compute capability 8.0 or higher, found {major}.{minor}"))
            .hint("take another GPU with --device, or run on the processor with --device cpu")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_runs_the_newest_ptx_that_it_can() {
        let [ampere, later, hopper] = ["sm_80", "sm_90", "sm_90a"].map(|architecture| Ptx { architecture, text: "" });
        let chosen = |capability| choose(capability, &[ampere, later, hopper]).map(|ptx| ptx.architecture);
        assert_eq!(chosen((8, 0)), Ok("sm_80"));
        assert_eq!(chosen((8, 9)), Ok("sm_80"));
        assert_eq!(chosen((9, 0)), Ok("sm_90a"));
        assert_eq!(chosen((10, 0)), Ok("sm_90"));
        assert_eq!(chosen((12, 1)), Ok("sm_90"));
        assert_eq!(choose((9, 0), &[ampere, later]), Ok(later));
        assert_eq!(choose((9, 0), &[ampere]), Ok(ampere));
        assert!(chosen((7, 5)).is_err());
    }
}
