//! Which PTX a GPU runs.
use std::borrow::Cow;

use cuda_builder::{PROMOTED, promote};

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

/// Architecture and compiler of each embedded PTX; [`PROMOTED`] is made of `sm_80` when it runs.
pub fn shipped_ptx() -> impl Iterator<Item = (&'static str, &'static str)> {
    embedded::ALL.iter().map(|(architecture, _, compiler)| (*architecture, *compiler))
}

/// The embedded PTX for a compute capability.
///
/// # Errors
/// As [`choose`].
pub fn embedded(capability: (u32, u32)) -> Result<Ptx> {
    let images = embedded::ALL.iter().map(|(architecture, text, _)| (*architecture, *text));
    choose(capability, &images.collect::<Vec<_>>())
}

/// The PTX among `images` for a compute capability: `sm_90a` runs on 9.0 alone, `sm_80` promoted to `sm_90`
/// from there on, and as it is from 8.0 on.
///
/// # Errors
/// The GPU is older than that.
fn choose((major, minor): (u32, u32), images: &[(&'static str, &'static str)]) -> Result<Ptx> {
    let of = |wanted| images.iter().find(|(architecture, _)| *architecture == wanted).copied();
    let as_it_is = |(architecture, text)| Ptx { architecture, text: Cow::Borrowed(text) };
    let hopper = of("sm_90a").filter(|_| (major, minor) == (9, 0)).map(as_it_is);
    let ampere = of("sm_80").filter(|_| major >= 8).map(|image| match major {
        8 => as_it_is(image),
        _ => Ptx { architecture: PROMOTED, text: Cow::Owned(promote(image.1)) },
    });
    hopper.or(ampere).ok_or_else(|| {
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
        let [ampere, hopper] = [("sm_80", ".target sm_80\n"), ("sm_90a", "")];
        let chosen = |capability| choose(capability, &[ampere, hopper]).map(|ptx| ptx.architecture);
        assert_eq!(chosen((8, 0)), Ok("sm_80"));
        assert_eq!(chosen((8, 9)), Ok("sm_80"));
        assert_eq!(chosen((9, 0)), Ok("sm_90a"));
        assert_eq!(chosen((10, 0)), Ok("sm_90"));
        assert_eq!(chosen((12, 1)), Ok("sm_90"));
        let later = Ptx { architecture: "sm_90", text: ".target sm_90\n".into() };
        assert_eq!(choose((9, 0), &[ampere]), Ok(later));
        assert!(chosen((7, 5)).is_err());
    }
}
