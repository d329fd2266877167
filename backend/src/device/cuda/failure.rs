//! The driver's error codes in this program's words.
use std::fmt::Display;

use cust::error::{CudaError, CudaResult};
use cust_raw::CUresult;

use crate::error::{Category, Error, Result};

/// Environment variable that asks for [`super::Options::check`].
pub const CHECK: &str = "NEMOTRON_CUDA_CHECK";
/// Environment variable that sets [`super::Options::rank_timeout`].
pub const RANK_TIMEOUT: &str = "NEMOTRON_RANK_TIMEOUT";

/// The answer of a driver call, told with what was being done.
pub trait Answer {
    /// What the call gives.
    type Value;

    /// The value, or an error that says what failed; `doing` completes "CUDA failed: ".
    fn or_failed(self, doing: impl Display) -> Result<Self::Value>;
}

impl Answer for CUresult {
    type Value = ();

    fn or_failed(self, doing: impl Display) -> Result<()> {
        match self {
            CUresult::CUDA_SUCCESS => Ok(()),
            code => Err(failed(doing, format!("{code:?}"))),
        }
    }
}

impl<T> Answer for CudaResult<T> {
    type Value = T;

    fn or_failed(self, doing: impl Display) -> Result<T> {
        self.map_err(|error| failed(doing, format!("{error:?}, {error}")))
    }
}

/// A call that failed for a reason that is not the user's.
pub fn failed(doing: impl Display, answer: impl Display) -> Error {
    Error::new(Category::Device, "CUDA failed")
        .details(format!("{doing}: {answer}"))
        .hint("is the GPU healthy and free? nvidia-smi tells; --device cpu, or --devices cpu:N, runs without it")
}

/// Work that was enqueued earlier has failed; which step it was is not known.
pub fn lost(error: CudaError) -> Error {
    Error::new(Category::Device, "The GPU failed while it ran a step")
        .details(format_args!("{error:?}, {error}"))
        .hint(format_args!("{CHECK}=1 waits behind each kernel and names the one that fails"))
}

/// There is no driver, or it has no GPU for us.
pub fn unavailable(reason: impl Display) -> Error {
    Error::new(Category::Device, "CUDA is not available")
        .details(reason)
        .hint("install NVIDIA's driver (nvidia-smi lists the GPUs), or run on the processor with --device cpu, or --devices cpu:N")
}
