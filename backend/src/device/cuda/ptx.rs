//! Which PTX a GPU runs.
use std::borrow::Cow;

use cuda_builder::{Promoted, promote};

use crate::error::{Category, Error, Result};

/// The PTX that the build script embeds.
#[expect(dead_code, reason = "the hashes of the PTX serve those who read it, not those who run it")]
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/ptx.rs"));
}

/// PTX for one architecture and those that can run it too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ptx {
    /// For example `sm_80`.
    pub architecture: &'static str,
    /// What the driver compiles.
    pub text: Cow<'static, str>,
}

impl Ptx {
    /// Whether its kernels know how to wait for the one in front, so that they may start before its end.
    pub fn overlaps(&self) -> bool {
        self.architecture != "sm_80"
    }
}

/// Architecture and compiler of each embedded PTX; the others are made of `sm_80` when it runs.
pub fn shipped_ptx() -> impl Iterator<Item = (&'static str, &'static str)> {
    embedded::ALL.iter().map(|(architecture, _, compiler)| (*architecture, *compiler))
}

/// The embedded PTX for a compute capability.
///
/// # Errors
/// There is no PTX that such a GPU can run.
pub fn embedded_ptx(capability: (u32, u32)) -> Result<Ptx> {
    let images = embedded::ALL.iter().map(|(architecture, text, _)| (*architecture, *text));
    choose(capability, &images.collect::<Vec<_>>())
}

/// The PTX among `images` for a compute capability: `sm_80` as it is from 8.0 on, promoted to `sm_90a` for 9.0 alone, and
/// to `sm_90` from there on.
///
/// # Errors
/// The GPU is older than that.
fn choose((major, minor): (u32, u32), images: &[(&'static str, &'static str)]) -> Result<Ptx> {
    let ampere = images.iter().find(|(architecture, _)| *architecture == "sm_80").copied();
    let ptx = ampere.filter(|_| major >= 8).map(|(architecture, text)| {
        let to = match (major, minor) {
            (8, _) => return Ptx { architecture, text: Cow::Borrowed(text) },
            (9, 0) => Promoted::Sm90a,
            _ => Promoted::Sm90,
        };
        Ptx { architecture: to.name(), text: Cow::Owned(promote(text, to)) }
    });
    ptx.ok_or_else(|| {
        Error::new(Category::Device, "This GPU is too old")
            .details(format!("expected compute capability 8.0 or higher, found {major}.{minor}"))
            .hint("take another GPU with --device, or run on the processor with --device cpu, or --devices cpu:N")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_runs_the_newest_ptx_that_it_can() {
        let chosen = |capability| choose(capability, &[("sm_80", ".target sm_80\n")]);
        let named = |capability| chosen(capability).map(|ptx| ptx.architecture);
        assert_eq!(named((8, 0)), Ok("sm_80"));
        assert_eq!(named((8, 9)), Ok("sm_80"));
        assert_eq!(named((9, 0)), Ok("sm_90a"));
        assert_eq!(named((10, 0)), Ok("sm_90"));
        assert_eq!(named((12, 1)), Ok("sm_90"));
        let hopper = Ptx { architecture: "sm_90a", text: ".target sm_90a\n".into() };
        assert_eq!(chosen((9, 0)), Ok(hopper));
        assert!(chosen((7, 5)).is_err());
    }
}
