//! Launches with attributes: kernels that start while the one in front ends and wait for it by themselves, which CUDA calls
//! programmatic dependent launch, and blocks in clusters.
//!
//! `cust_raw` is older than the driver's function for them.
use std::ffi::{c_int, c_uint, c_void};

use cust::stream::Stream;
use cust_raw::{CUfunction, CUstream};
use gpu_kernels::Launch;

use super::driver;
use super::failure::failed;
use super::gpu::Gpu;
use crate::error::Result;

/// The first CUDA version whose graphs record an overlap.
const OVERLAP_VERSION: (i32, i32) = (12, 3);
/// The first whose compiler knows how blocks of a cluster send.
const CLUSTER_VERSION: (i32, i32) = (12, 1);
/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION`.
const CLUSTER_DIMENSION: c_uint = 4;
/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
const PROGRAMMATIC_STREAM_SERIALIZATION: c_uint = 6;

/// `CUlaunchAttribute`: a number, and a union of 64 bytes that begins with a flag or with three sizes.
#[repr(C, align(8))]
struct Attribute {
    id: c_uint,
    padding: c_uint,
    value: [c_uint; 16],
}

/// `CUlaunchConfig`.
#[repr(C)]
struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared_bytes: c_uint,
    stream: CUstream,
    attributes: *const Attribute,
    attribute_count: c_uint,
}

type LaunchKernelEx = unsafe extern "C" fn(*const Config, CUfunction, *mut *mut c_void, *mut *mut c_void) -> i32;

/// Whether the driver's graphs record kernels that overlap; what the GPU can is the caller's to know.
pub fn records_overlaps(gpu: &Gpu) -> bool {
    gpu.driver >= OVERLAP_VERSION
}

/// Whether the driver compiles kernels whose blocks are clusters; what the GPU can is the caller's to know.
pub fn knows_clusters(gpu: &Gpu) -> bool {
    gpu.driver >= CLUSTER_VERSION
}

type MaxActiveClusters = unsafe extern "C" fn(*mut c_int, CUfunction, *const Config) -> i32;

/// The driver's functions for launches with attributes.
#[derive(Clone, Copy)]
pub struct Extended {
    launch: LaunchKernelEx,
    most_clusters: MaxActiveClusters,
}

impl Extended {
    /// The driver's functions, which every driver has that knows clusters.
    pub fn find() -> Option<Extended> {
        let library = driver::library().ok()?;
        // SAFETY: the signatures are those of cuda.h since CUDA 11.8.
        unsafe {
            let launch = *library.get::<LaunchKernelEx>("cuLaunchKernelEx").ok()?;
            let most_clusters = *library.get::<MaxActiveClusters>("cuOccupancyMaxActiveClusters").ok()?;
            Some(Extended { launch, most_clusters })
        }
    }

    /// Clusters of a launch that the GPU runs at once: not all multiprocessors of a part of it may make whole ones.
    ///
    /// # Errors
    /// The driver does not know.
    pub fn clusters_at_once(&self, function: CUfunction, launch: &Launch) -> Result<u32> {
        let attributes = attributes(launch, false);
        let config = config(launch, std::ptr::null_mut(), &attributes);
        let mut clusters = 0;
        // SAFETY: the driver reads the configuration, and writes the number, before it returns.
        match unsafe { (self.most_clusters)(&raw mut clusters, function, &raw const config) } {
            0 => Ok(clusters.cast_unsigned()),
            code => {
                let doing = format_args!("counting the clusters of `{}`", launch.symbol);
                Err(failed(doing, format_args!("the driver's error {code}")))
            }
        }
    }

    /// Enqueues a kernel, in clusters where the launch has them; if it `overlaps`, it waits by itself for what is in front of it.
    ///
    /// # Errors
    /// It does not start.
    pub fn launch(
        &self,
        function: CUfunction,
        (launch, overlaps): (&Launch, bool),
        args: &[u8],
        stream: &Stream,
    ) -> Result<()> {
        let attributes = attributes(launch, overlaps);
        let config = config(launch, stream.as_inner(), &attributes);
        let mut parameters = [args.as_ptr() as *mut c_void];
        // SAFETY: the kernel takes one struct by value, and `args` are the bytes of that very struct with its pointers
        // resolved from the arena; the driver copies them, and the configuration, before it returns.
        match unsafe { (self.launch)(&raw const config, function, parameters.as_mut_ptr(), std::ptr::null_mut()) } {
            0 => Ok(()),
            code => {
                Err(failed(format_args!("launching `{}`", launch.symbol), format_args!("the driver's error {code}")))
            }
        }
    }
}

/// The launch's configuration; it points to the attributes.
fn config(launch: &Launch, stream: CUstream, attributes: &[Attribute]) -> Config {
    Config {
        grid: launch.grid,
        block: launch.block,
        shared_bytes: launch.shared_bytes,
        stream,
        attributes: attributes.as_ptr(),
        attribute_count: attributes.len() as c_uint,
    }
}

fn attributes(launch: &Launch, overlaps: bool) -> Vec<Attribute> {
    let attribute = |id, first: &[c_uint]| {
        let mut value = [0; 16];
        value[..first.len()].copy_from_slice(first);
        Attribute { id, padding: 0, value }
    };
    let overlap = overlaps.then(|| attribute(PROGRAMMATIC_STREAM_SERIALIZATION, &[1]));
    let cluster = (launch.cluster > 1).then(|| attribute(CLUSTER_DIMENSION, &[launch.cluster, 1, 1]));
    overlap.into_iter().chain(cluster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_has_the_attributes_that_it_asks_for() {
        let of = |cluster, overlaps| -> Vec<(c_uint, [c_uint; 3])> {
            let launch = Launch { cluster, ..Launch::linear("attn_decode_cluster_128", 8, 256) };
            let attributes = attributes(&launch, overlaps);
            attributes.iter().map(|a| (a.id, [a.value[0], a.value[1], a.value[2]])).collect()
        };
        assert_eq!(of(1, false), []);
        assert_eq!(of(1, true), [(6, [1, 0, 0])]);
        assert_eq!(of(4, false), [(4, [4, 1, 1])]);
        assert_eq!(of(2, true), [(6, [1, 0, 0]), (4, [2, 1, 1])]);
        // As cuda.h has them.
        assert_eq!((size_of::<Attribute>(), size_of::<Config>()), (72, 56));
    }
}
