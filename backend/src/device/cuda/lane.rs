//! `Lane`: the stream that steps are enqueued in, with what they need, and how one waits for it.
use cust::error::CudaResult;
use cust::event::{Event, EventStatus};
use cust::stream::Stream;
use cust_raw::CUresult;

use super::failure::lost;
use super::gemm::CublasLt;
use super::rank::Rank;
use crate::error::Result;

/// Where steps are enqueued.
#[derive(Clone, Copy)]
pub struct Lane<'a> {
    pub stream: &'a Stream,
    pub cublas: &'a CublasLt,
    /// Whose it is, where it is that of one of several ranks.
    pub rank: Option<&'a Rank>,
}

impl Lane<'_> {
    /// Waits until all that is enqueued has run.
    ///
    /// # Errors
    /// The device failed, or a rank does not come.
    pub fn wait(&self) -> Result<()> {
        let Some(rank) = self.rank else { return self.stream.synchronize().map_err(lost) };
        rank.wait(|| self.is_done())
    }

    /// Whether all that is enqueued has run.
    pub fn is_done(&self) -> CudaResult<bool> {
        // SAFETY: the stream is alive.
        match unsafe { cust_raw::cuStreamQuery(self.stream.as_inner()) } {
            CUresult::CUDA_SUCCESS => Ok(true),
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            // It says which error that is.
            _ => self.stream.synchronize().map(|()| true),
        }
    }

    /// In front of what all ranks do at a time; nothing where there is one device.
    ///
    /// # Errors
    /// Another rank has failed.
    pub fn meet_on_host(&self) -> Result<()> {
        self.rank.map_or(Ok(()), Rank::meet_on_host)
    }
}

/// Waits until an event has come.
///
/// # Errors
/// The device failed, or a rank does not come.
pub fn wait_for(event: &Event, rank: Option<&Rank>) -> Result<()> {
    match rank {
        None => event.synchronize().map_err(lost),
        Some(rank) => rank.wait(|| event.query().map(|status| status == EventStatus::Ready)),
    }
}
