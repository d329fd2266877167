//! Opening a GPU: its driver, then context and kernels, and cuBLASLt's library beside those.
use std::time::{Duration, Instant};

use cust::context::Context;
use cust::stream::{Stream, StreamFlags};

use super::extended::{Extended, knows_clusters, records_overlaps};
use super::failure::Answer;
use super::gemm::CublasLt;
use super::module::Kernels;
use super::upload::Uploaded;
use super::{Cuda, Gpu, Options, library, ptx};
use crate::error::Result;

/// How long each part of opening a GPU took.
#[derive(Default)]
pub struct Opening(Vec<(&'static str, Duration)>);

impl Opening {
    fn time<T>(&mut self, part: &'static str, open: impl FnOnce() -> Result<T>) -> Result<T> {
        let (opened, time) = timed(open)?;
        self.0.push((part, time));
        Ok(opened)
    }
}

impl std::fmt::Display for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        for (index, (part, time)) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{part} {:.1} ms", time.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

impl Cuda {
    /// Opens GPU number `ordinal`; its kernels are compiled as plans ask for them.
    ///
    /// # Errors
    /// There is no driver or no such GPU, the GPU is too old, or its driver refuses the PTX.
    pub fn open(ordinal: u32, options: Options) -> Result<Cuda> {
        let mut opening = Opening::default();
        let mut gpu = opening.time("driver", || Gpu::new(ordinal))?;
        let ptx = ptx::embedded_ptx(gpu.info.compute_capability)?;
        let extended = Extended::find();
        gpu.info.clusters &= options.clusters && extended.is_some() && knows_clusters(&gpu);
        let overlap = records_overlaps(&gpu) && ptx.overlaps() && options.overlap && !options.check;
        let (opened, found) = std::thread::scope(|scope| {
            let library = scope.spawn(|| timed(library::find));
            let opened = opening.time("context", || context(&gpu)).and_then(|(context, stream)| {
                Ok((context, stream, opening.time("kernels", || Kernels::open(ptx.text))?))
            });
            (opened, library.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (context, stream, kernels) = opened?;
        // A machine without the library runs what needs no product of it; the first one that does says so.
        opening.0.extend(found.ok().map(|(_, time)| ("cuBLASLt beside them", time)));
        Ok(Cuda {
            programs: Vec::new(),
            model: None,
            cublas: CublasLt::default(),
            kernels,
            extended,
            overlap,
            stream,
            options,
            progress: None,
            uploaded: Uploaded::default(),
            warmed: None,
            opening,
            gpu,
            rank: None,
            context,
        })
    }
}

/// What `call` gives, and how long it took.
pub fn timed<T>(call: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    Ok((call()?, start.elapsed()))
}

fn context(gpu: &Gpu) -> Result<(Context, Stream)> {
    let context = Context::new(gpu.device).or_failed(format_args!("opening GPU {}", gpu.ordinal))?;
    Ok((context, Stream::new(StreamFlags::NON_BLOCKING, None).or_failed("creating a stream")?))
}
