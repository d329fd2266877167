//! The PTX in the driver: compiled once when the device opens, its functions found by symbol.
use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cust::module::Module;
use cust_raw::{CUfunction, CUfunction_attribute, CUjit_option};
use gpu_kernels::Launch;

use super::failure::{Answer, failed};
use crate::error::{Category, Error, Result};

/// Compiled kernels, and how much shared memory each was allowed.
pub struct Kernels {
    functions: HashMap<&'static str, (CUfunction, u32)>,
    module: Module,
    most_shared_bytes: u32,
}

impl Kernels {
    /// Compiles `ptx` for the current context's GPU, one block of which may have `most_shared_bytes` of shared memory.
    ///
    /// # Errors
    /// The driver refuses the PTX; its compiler's log is in the details.
    pub fn compile(ptx: &str, most_shared_bytes: u32) -> Result<Kernels> {
        let module = Module::from_ptx(ptx, &[]).map_err(|error| {
            Error::new(Category::Device, "The driver refused the kernels")
                .details(format!("{error:?}: {}", compiler_log(ptx)))
                .hint("an older driver may not know this PTX; update NVIDIA's driver")
        })?;
        Ok(Kernels { functions: HashMap::new(), module, most_shared_bytes })
    }

    /// The function of `launch`, allowed its shared memory. It lives as long as `self`.
    ///
    /// # Errors
    /// The PTX has no such function, or the GPU has less shared memory.
    pub fn function(&mut self, launch: &Launch) -> Result<CUfunction> {
        let symbol = launch.symbol;
        let (function, allowed) = match self.functions.get(symbol) {
            Some(found) => *found,
            None => {
                (self.module.get_function(symbol).or_failed(format!("looking for `{symbol}` in the PTX"))?.to_raw(), 0)
            }
        };
        if launch.shared_bytes > self.most_shared_bytes {
            let (asked, most) = (launch.shared_bytes, self.most_shared_bytes);
            return Err(failed(
                format!("preparing `{symbol}`"),
                format!("{asked} bytes of shared memory, the GPU has {most}"),
            ));
        }
        if launch.shared_bytes > allowed {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // Sound: the function belongs to a module that `self` keeps loaded.
            unsafe { cust_raw::cuFuncSetAttribute(function, attribute, launch.shared_bytes as i32) }
                .or_failed(format!("allowing `{symbol}` {} bytes of shared memory", launch.shared_bytes))?;
        }
        self.functions.insert(symbol, (function, allowed.max(launch.shared_bytes)));
        Ok(function)
    }
}

/// What the driver's compiler says about PTX that it refuses.
fn compiler_log(ptx: &str) -> String {
    let Ok(image) = CString::new(ptx) else { return "the PTX holds a zero byte".into() };
    let mut log = vec![0u8; 4096];
    let mut module = std::ptr::null_mut();
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    // Sound: the image ends in a zero byte, the log is as long as its option says, and a module that loads is unloaded.
    unsafe {
        let image = image.as_ptr().cast();
        let code = cust_raw::cuModuleLoadDataEx(&mut module, image, 2, options.as_mut_ptr(), values.as_mut_ptr());
        if code == cust_raw::CUresult::CUDA_SUCCESS {
            cust_raw::cuModuleUnload(module);
        }
    }
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).trim().to_string()
}
