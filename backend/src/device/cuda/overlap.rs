//! Launches that overlap: the next kernel starts while the one in front ends, and waits for it by itself.
//!
//! CUDA calls it programmatic dependent launch. `cust_raw` is older than the driver's function for it.
use std::ffi::{c_uint, c_void};

use cust::stream::Stream;
use cust_raw::{CUfunction, CUstream};
use gpu_kernels::Launch;

use super::driver;
use super::failure::failed;
use super::gpu::Gpu;
use crate::error::Result;

/// The first CUDA version whose graphs record an overlap.
const VERSION: (i32, i32) = (12, 3);
/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
const PROGRAMMATIC_STREAM_SERIALIZATION: c_uint = 6;

/// `CUlaunchAttribute`: a number, and a union of 64 bytes that holds a flag here.
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

/// The driver's function for it.
#[derive(Clone, Copy)]
pub struct Overlap(LaunchKernelEx);

impl Overlap {
    /// The driver's function, where the driver is new enough; what the GPU can is the caller's to know.
    pub fn find(gpu: &Gpu) -> Option<Overlap> {
        let library = driver::library().ok().filter(|_| gpu.driver >= VERSION)?;
        // SAFETY: the signature is that of cuda.h since CUDA 11.8.
        Some(Overlap(*unsafe { library.get::<LaunchKernelEx>("cuLaunchKernelEx") }.ok()?))
    }

    /// Enqueues a kernel that waits by itself for what is in front of it.
    ///
    /// # Errors
    /// It does not start.
    pub fn launch(&self, function: CUfunction, launch: &Launch, args: &[u8], stream: &Stream) -> Result<()> {
        let mut value = [0; 16];
        value[0] = 1;
        let attribute = Attribute { id: PROGRAMMATIC_STREAM_SERIALIZATION, padding: 0, value };
        let config = Config {
            grid: launch.grid,
            block: launch.block,
            shared_bytes: launch.shared_bytes,
            stream: stream.as_inner(),
            attributes: &raw const attribute,
            attribute_count: 1,
        };
        let mut parameters = [args.as_ptr() as *mut c_void];
        // SAFETY: the kernel takes one struct by value, and `args` are the bytes of that very struct with its pointers
        // resolved from the arena; the driver copies them, and the configuration, before it returns.
        match unsafe { (self.0)(&raw const config, function, parameters.as_mut_ptr(), std::ptr::null_mut()) } {
            0 => Ok(()),
            code => {
                Err(failed(format_args!("launching `{}`", launch.symbol), format_args!("the driver's error {code}")))
            }
        }
    }
}
