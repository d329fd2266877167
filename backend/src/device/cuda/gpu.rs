//! The GPUs of this machine: how many, what they are, and which PTX each runs.
use cust::device::{Device, DeviceAttribute};
use gpu_kernels::DeviceInfo;

use super::driver;
use super::failure::{Answer, unavailable};
use super::ptx;
use crate::error::{Category, Error, Result, size};

/// What the driver says about a GPU.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// Its number, as `--device` takes it.
    pub ordinal: u32,
    /// Its name, for example `NVIDIA H200`.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
    /// The driver's CUDA version, for example `(13, 0)`.
    pub driver: (i32, i32),
    /// What launches depend on.
    pub info: DeviceInfo,
    pub(super) device: Device,
}

/// Number of GPUs.
///
/// # Errors
/// There is no driver, or it found no GPU.
pub fn count() -> Result<u32> {
    driver::library().map_err(|reason| unavailable(format!("the driver could not be opened: {reason}")))?;
    let initialised = cust::init(cust::CudaFlags::empty());
    initialised.map_err(|error| unavailable(format!("the driver did not start: {error:?}, {error}")))?;
    match Device::num_devices() {
        Ok(0) => Err(unavailable("the driver started and lists no GPU")),
        Ok(count) => Ok(count),
        Err(error) => Err(unavailable(format!("the driver lists no GPU: {error:?}, {error}"))),
    }
}

/// All GPUs, by number.
///
/// # Errors
/// As [`count`].
pub fn all() -> Result<Vec<Gpu>> {
    (0..count()?).map(Gpu::new).collect()
}

impl Gpu {
    /// GPU number `ordinal`.
    ///
    /// # Errors
    /// There is none of that number.
    pub fn new(ordinal: u32) -> Result<Gpu> {
        let count = count()?;
        if ordinal >= count {
            let found = if count == 1 {
                "1 GPU was found, number 0".into()
            } else {
                format!("{count} GPUs were found, numbers 0 to {}", count - 1)
            };
            return Err(Error::new(Category::Device, format!("There is no GPU {ordinal}"))
                .details(found)
                .hint("`nemotron devices` lists them; --device auto takes the first"));
        }
        Gpu::ask(ordinal).or_failed(format!("asking for the properties of GPU {ordinal}"))
    }

    fn ask(ordinal: u32) -> cust::error::CudaResult<Gpu> {
        let device = Device::get_device(ordinal)?;
        let attribute = |attribute| device.get_attribute(attribute).map(|value| value as u32);
        let version = cust::CudaApiVersion::get()?;
        let major = attribute(DeviceAttribute::ComputeCapabilityMajor)?;
        let info = DeviceInfo {
            compute_capability: (major, attribute(DeviceAttribute::ComputeCapabilityMinor)?),
            multiprocessors: attribute(DeviceAttribute::MultiprocessorCount)?,
            shared_bytes_per_block: most_shared_bytes(device)?,
            clusters: major >= 9,
        };
        let memory = device.total_memory()? as u64;
        Ok(Gpu { ordinal, name: device.name()?, memory, driver: (version.major(), version.minor()), info, device })
    }

    /// Whether kernels on this GPU can read the memory of another.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn reaches(&self, other: &Gpu) -> Result<bool> {
        let mut can = 0;
        // SAFETY: `can` is writable, and both devices came from the driver.
        unsafe { cust_raw::cuDeviceCanAccessPeer(&mut can, self.device.as_raw(), other.device.as_raw()) }
            .or_failed(format_args!("asking whether GPU {} reaches GPU {}", self.ordinal, other.ordinal))?;
        Ok(can != 0)
    }

    /// Lines that tell the user what this is; the first is the name.
    pub fn description(&self) -> Vec<String> {
        let (major, minor) = self.info.compute_capability;
        vec![
            self.name.clone(),
            format!("Compute Capability: {major}.{minor}"),
            format!("Total Memory: {}", size(self.memory)),
            format!("Driver: CUDA {}.{}", self.driver.0, self.driver.1),
            match ptx::embedded_ptx(self.info.compute_capability) {
                Ok(ptx) => format!("Kernels: PTX {}", ptx.architecture),
                Err(error) => format!("Kernels: none, {}", error.message().to_lowercase()),
            },
        ]
    }
}

/// The limit of a kernel that has opted in; `cust` does not name this attribute.
fn most_shared_bytes(device: Device) -> cust::error::CudaResult<u32> {
    let attribute = cust_raw::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    let mut value = 0;
    // SAFETY: `value` is writable, and the device came from the driver.
    match unsafe { cust_raw::cuDeviceGetAttribute(&mut value, attribute, device.as_raw()) } {
        cust_raw::CUresult::CUDA_SUCCESS => Ok(value as u32),
        _ => device.get_attribute(DeviceAttribute::MaxSharedMemoryPerBlock).map(|value| value as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_gpus_or_says_why_not() {
        match count() {
            Ok(count) => {
                assert!(Gpu::new(count).is_err_and(|error| error.message() == format!("There is no GPU {count}")))
            }
            Err(error) => assert_eq!(error.message(), "CUDA is not available"),
        }
    }
}
