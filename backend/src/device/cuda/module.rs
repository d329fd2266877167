//! The PTX in the driver: each kernel is a module of its own, compiled when a plan asks for it.
//!
//! The driver keeps what it has compiled on disk; where it has not yet, all kernels would take it seconds, and those of one
//! model a part of that.
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cust::module::Module;
use cust_raw::{CUfunction, CUfunction_attribute, CUjit_option};
use gpu_kernels::{Advance, Kernel, Launch};

use super::failure::{Answer, failed};
use crate::error::{Category, Error, Result};

/// How the text of a kernel begins.
const ENTRY: &str = ".visible .entry ";

/// Kernels, and those of them that are compiled, with how much shared memory each was allowed.
pub struct Kernels {
    functions: HashMap<&'static str, (CUfunction, u32)>,
    /// What the functions belong to.
    modules: Vec<Module>,
    ptx: Cow<'static, str>,
}

impl Kernels {
    /// The kernels of `ptx` for the current context's GPU. One small kernel is compiled: whether the driver knows this PTX shows now.
    ///
    /// # Errors
    /// The driver refuses the PTX; its compiler's log is in the details.
    pub fn open(ptx: Cow<'static, str>) -> Result<Kernels> {
        let mut kernels = Kernels { functions: HashMap::new(), modules: Vec::new(), ptx };
        kernels.compile(Advance::NAME)?;
        Ok(kernels)
    }

    /// The function of a kernel, which is compiled when it is asked for first.
    fn compile(&mut self, symbol: &'static str) -> Result<CUfunction> {
        let ptx = alone(&self.ptx, symbol)
            .ok_or_else(|| failed(format_args!("looking for `{symbol}`"), "the PTX has no such kernel"))?;
        let module = Module::from_ptx(&ptx, &[]).map_err(|error| {
            Error::new(Category::Device, "The driver refused a kernel")
                .details(format!("`{symbol}`: {error:?}: {}", compiler_log(&ptx)))
                .hint("an older driver may not know this PTX; update NVIDIA's driver")
        })?;
        let function = module.get_function(symbol).or_failed(format_args!("looking for `{symbol}`"))?.to_raw();
        self.modules.push(module);
        self.functions.insert(symbol, (function, 0));
        Ok(function)
    }

    /// The function of `launch`, allowed its shared memory. It lives as long as `self`.
    ///
    /// # Errors
    /// The PTX has no such kernel, or the driver refuses it.
    pub fn function(&mut self, launch: &Launch) -> Result<CUfunction> {
        let symbol = launch.symbol;
        let (function, allowed) = match self.functions.get(symbol) {
            Some(found) => *found,
            None => (self.compile(symbol)?, 0),
        };
        if launch.shared_bytes > allowed {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to a module that `self` keeps loaded.
            unsafe { cust_raw::cuFuncSetAttribute(function, attribute, launch.shared_bytes as i32) }
                .or_failed(format!("allowing `{symbol}` {} bytes of shared memory", launch.shared_bytes))?;
        }
        self.functions.insert(symbol, (function, allowed.max(launch.shared_bytes)));
        Ok(function)
    }
}

/// The PTX of one kernel: the file's head, and what stands from its entry to the next. Drivers of CUDA 12.0 know all but what blocks of
/// a cluster send.
fn alone(ptx: &str, symbol: &str) -> Option<String> {
    let head = &ptx[..ptx.find(ENTRY)?];
    let start = ptx.find(&format!("{ENTRY}{symbol}("))?;
    let end = ptx[start + 1..].find(ENTRY).map_or(ptx.len(), |next| start + 1 + next);
    let entry = &ptx[start..end];
    let head = if entry.contains("st.async") { head.into() } else { head.replace(".version 8.1", ".version 8.0") };
    Some(head + entry)
}

/// What the driver's compiler says about PTX that it refuses.
fn compiler_log(ptx: &str) -> String {
    let Ok(image) = CString::new(ptx) else { return "the PTX holds a zero byte".into() };
    let mut log = vec![0u8; 4096];
    let mut module = std::ptr::null_mut();
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    // SAFETY: the image ends in a zero byte, the log is as long as its option says, and a module that loads is unloaded.
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

#[cfg(test)]
mod tests {
    use ptx_emulator::Module;

    use super::super::ptx;
    use super::alone;

    #[test]
    fn each_kernel_stands_alone() {
        let ptx = ptx::embedded_ptx((8, 0)).unwrap().text;
        let all = Module::parse(&ptx).unwrap();
        assert!(all.entries().count() > 20);
        for symbol in all.entries() {
            let module =
                Module::parse(&alone(&ptx, symbol).unwrap()).unwrap_or_else(|error| panic!("{symbol}: {error}"));
            assert_eq!(module.entries().collect::<Vec<_>>(), [symbol]);
            // A function, such as a panic's, would be declared in the head and not be there.
            assert!(!alone(&ptx, symbol).unwrap().contains(".func"), "{symbol} calls a function");
        }
        assert!(alone(&ptx, "attn_decode").is_none(), "the name of a variant is longer");
        let hopper = ptx::embedded_ptx((9, 0)).unwrap().text;
        let is_of = |symbol, version| alone(&hopper, symbol).unwrap().contains(version);
        assert!(is_of("attn_decode_cluster_128", ".version 8.1") && is_of("attn_decode_128", ".version 8.0"));
    }
}
