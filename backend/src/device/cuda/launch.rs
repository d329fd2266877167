//! `KernelLaunch`: a kernel's function, launch shape and argument bytes with addresses.
use std::ffi::c_void;

use cust::stream::Stream;
use cust_raw::CUfunction;
use gpu_kernels::{DeviceInfo, Element, Launch};

use super::extended::Extended;
use super::failure::{Answer, failed};
use super::module::Kernels;
use super::program::PrepareContext;
use crate::device::PlannedKernel;
use crate::error::{Category, Error, Result};

/// A kernel ready to run.
pub struct KernelLaunch {
    function: CUfunction,
    launch: Launch,
    args: Vec<u8>,
    /// How it is launched with attributes, if it needs any.
    extended: Option<Extended>,
    overlaps: bool,
}

impl KernelLaunch {
    /// Prepares a kernel whose pointers are where `address(buffer, element offset, element)` says.
    ///
    /// # Errors
    /// Its requirements are not met, the device has less shared memory than it needs, or no such kernel, or the driver no clusters.
    pub fn new(
        kernel: &dyn PlannedKernel,
        context: &mut PrepareContext,
        address: &mut dyn FnMut(u32, u64, Element) -> u64,
    ) -> Result<KernelLaunch> {
        let plain = KernelLaunch::plain(kernel, context.kernels, context.info, address)?;
        let overlaps = plain.launch.overlaps && context.overlap && context.extended.is_some();
        let extended = context.extended.filter(|_| overlaps || plain.launch.cluster > 1);
        if plain.launch.cluster > 1 && extended.is_none() {
            let doing = format_args!("preparing to launch `{}` in clusters", plain.launch.symbol);
            return Err(failed(doing, "the driver has no cuLaunchKernelEx"));
        }
        Ok(KernelLaunch { extended, overlaps, ..plain })
    }

    /// As [`KernelLaunch::new`], of a kernel that is launched without attributes, whatever it would do with them.
    ///
    /// # Errors
    /// As of [`KernelLaunch::new`].
    pub fn plain(
        kernel: &dyn PlannedKernel,
        kernels: &mut Kernels,
        info: &DeviceInfo,
        address: &mut dyn FnMut(u32, u64, Element) -> u64,
    ) -> Result<KernelLaunch> {
        let name = kernel.name();
        kernel.check().map_err(|reason| failed(format_args!("checking the arguments of `{name}`"), reason))?;
        let launch = kernel.launch(info);
        fits(&launch, info)?;
        let function = kernels.function(&launch)?;
        Ok(KernelLaunch { function, launch, args: kernel.args(address), extended: None, overlaps: false })
    }

    /// Whether all its clusters run at once; no launch but one in clusters is to be asked.
    ///
    /// # Errors
    /// The driver does not know.
    pub fn runs_at_once(&self) -> Result<bool> {
        let Some(extended) = self.extended else { return Ok(false) };
        let clusters = self.launch.grid.iter().product::<u32>() / self.launch.cluster;
        Ok(extended.clusters_at_once(self.function, &self.launch)? >= clusters)
    }

    /// Enqueues it.
    ///
    /// # Errors
    /// It does not start.
    pub fn enqueue(&self, stream: &Stream) -> Result<()> {
        let KernelLaunch { function, launch, args, extended, overlaps } = self;
        if let Some(extended) = extended {
            return extended.launch(*function, (launch, *overlaps), args, stream);
        }
        let ([x, y, z], [threads_x, threads_y, threads_z]) = (launch.grid, launch.block);
        let mut parameters = [args.as_ptr() as *mut c_void];
        // SAFETY: the kernel takes one struct by value, and `args` are the bytes of that very struct with its pointers
        // resolved; the driver copies them before it returns.
        unsafe {
            cust_raw::cuLaunchKernel(
                *function,
                x,
                y,
                z,
                threads_x,
                threads_y,
                threads_z,
                launch.shared_bytes,
                stream.as_inner(),
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        }
        .or_failed(format_args!("launching `{}`", launch.symbol))
    }
}

/// Whether a block of `launch` finds the shared memory that it needs.
///
/// # Errors
/// It does not; the error names the kernel.
fn fits(launch: &Launch, device: &DeviceInfo) -> Result<()> {
    let (needed, most) = (launch.shared_bytes, device.shared_bytes_per_block);
    if needed <= most {
        return Ok(());
    }
    let (major, minor) = device.compute_capability;
    Err(Error::new(Category::Device, "A kernel needs more shared memory than this GPU has")
        .details(format_args!(
            "`{}`: {needed} bytes for a block; compute capability {major}.{minor} gives {most}",
            launch.symbol
        ))
        .hint("a GPU of compute capability 8.0 or 9.0 runs every supported model; --device cpu, or --devices cpu:N, runs without one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_too_large_for_the_gpu_is_named() {
        let device = DeviceInfo {
            compute_capability: (8, 6),
            multiprocessors: 28,
            shared_bytes_per_block: 99 * 1024,
            clusters: false,
        };
        let launch = |shared_bytes| Launch { shared_bytes, ..Launch::linear("ssm_scan_narrow", 1, 256) };
        assert!(fits(&launch(99 * 1024), &device).is_ok());
        let error = fits(&launch(99 * 1024 + 1), &device).unwrap_err();
        assert_eq!(error.category(), Category::Device);
        let text = error.to_string();
        assert!(text.contains("`ssm_scan_narrow`: 101377 bytes") && text.contains("8.6 gives 101376"), "{text}");
    }
}
