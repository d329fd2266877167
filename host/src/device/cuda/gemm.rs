//! Products by cuBLASLt, opened at run time: bf16 times bf16, summed in f32; the algorithm of a shape is chosen once.
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::PathBuf;

use cudarc::cublaslt::sys::{self as lt, cublasStatus_t as Status};
use cust::memory::DeviceBuffer;
use cust::stream::Stream;
use libloading::Library;

use super::driver::loader_words;
use super::failure::{Answer, failed};
use crate::error::{Category, Error, Result};

/// Device memory for the sums of products whose columns are split; what cuBLAS itself takes on Hopper.
pub const WORKSPACE_BYTES: u64 = 32 << 20;

/// `CUBLAS_OP_T` of cublas_api.h, which the bindings of cuBLASLt leave out.
const TRANSPOSED: i32 = 1;

const NAMES: [&str; 2] = ["libcublasLt.so.13", "libcublasLt.so.12"];

/// What the choice of an algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Token rows.
    pub rows: u32,
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether there is something to add the product to.
    pub residual: bool,
    /// Whether the result is f32 instead of bf16.
    pub f32_out: bool,
    /// Powers of two that divide the addresses of x, w, residual and out.
    pub alignments: [u32; 4],
}

/// Shape and addresses of `out[rows, n] = x[rows, k] · w[n, k]ᵀ + bias[n] + residual[rows, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Rows, n, k.
    pub shape: [u32; 3],
    /// Address of x.
    pub x: u64,
    /// Address of w.
    pub w: u64,
    /// Address of the bias; 0 where there is none.
    pub bias: u64,
    /// Address of the residual, which may be `out`; 0 where there is none.
    pub residual: u64,
    /// Address of the result.
    pub out: u64,
    /// Whether the result is f32 instead of bf16.
    pub f32_out: bool,
}

impl Operands {
    fn shape(&self) -> Shape {
        let [rows, n, k] = self.shape;
        let alignments = [self.x, self.w, self.residual, self.out].map(|address| 1 << address.trailing_zeros().min(8));
        let (bias, residual) = (self.bias != 0, self.residual != 0);
        Shape { rows, n, k, bias, residual, f32_out: self.f32_out, alignments }
    }
}

/// A product whose addresses and algorithm are known.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    matmul: usize,
    operands: Operands,
}

/// cuBLASLt on one device.
pub struct CublasLt {
    matmuls: Vec<Matmul>,
    chosen: HashMap<Shape, usize>,
    handle: Handle,
    workspace: DeviceBuffer<u8>,
}

impl CublasLt {
    /// Opens the library for the current context and allocates its workspace.
    ///
    /// # Errors
    /// The library is not found or does not start, or memory is short.
    pub fn open() -> Result<CublasLt> {
        find()?;
        // Sound: the workspace holds nothing between two products.
        let workspace = unsafe { DeviceBuffer::uninitialized(WORKSPACE_BYTES as usize) }
            .or_failed("allocating the workspace of cuBLASLt")?;
        let handle = Handle::new()?;
        Ok(CublasLt { matmuls: Vec::new(), chosen: HashMap::new(), handle, workspace })
    }

    /// The library's version, for example `13.0.2`.
    pub fn version(&self) -> String {
        // Sound: the function takes nothing and only returns a number.
        let version = unsafe { lt::cublasLtGetVersion() };
        format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    /// Prepares a product.
    ///
    /// # Errors
    /// The library has no algorithm for the shape.
    pub fn prepare(&mut self, operands: Operands) -> Result<Product> {
        let shape = operands.shape();
        let matmul = match self.chosen.get(&shape) {
            Some(index) => *index,
            None => {
                self.matmuls.push(Matmul::choose(&self.handle, &shape, operands.bias)?);
                *self.chosen.entry(shape).or_insert(self.matmuls.len() - 1)
            }
        };
        Ok(Product { matmul, operands })
    }

    /// Enqueues a product.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn enqueue(&self, product: &Product, stream: &Stream) -> Result<()> {
        let (matmul, operands) = (&self.matmuls[product.matmul], &product.operands);
        if operands.bias != 0 {
            matmul.description.set_bias(operands.bias)?;
        }
        let (one, zero) = (1f32, 0f32);
        let out = operands.out as *mut c_void;
        let (kept, residual) =
            if operands.residual == 0 { (&zero, out) } else { (&one, operands.residual as *mut c_void) };
        // Sound: descriptors and algorithm belong together, the addresses were resolved from the arena for this shape, and
        // products that share the workspace follow each other in one stream.
        let status = unsafe {
            lt::cublasLtMatmul(
                self.handle.0,
                matmul.description.0,
                (&raw const one).cast(),
                operands.w as *const c_void,
                matmul.w.0,
                operands.x as *const c_void,
                matmul.x.0,
                std::ptr::from_ref(kept).cast(),
                residual,
                matmul.out.0,
                out,
                matmul.out.0,
                &matmul.algorithm,
                self.workspace.as_device_ptr().as_raw() as *mut c_void,
                WORKSPACE_BYTES as usize,
                stream.as_inner().cast(),
            )
        };
        checked(status, "starting a product")
    }
}

/// Row-major `out = x · wᵀ` is column-major `outᵀ = w · xᵀ`: w is passed first and transposed, and no byte is moved.
struct Matmul {
    description: Description,
    w: Layout,
    x: Layout,
    out: Layout,
    algorithm: lt::cublasLtMatmulAlgo_t,
}

impl Matmul {
    fn choose(handle: &Handle, shape: &Shape, bias: u64) -> Result<Matmul> {
        use lt::cudaDataType_t::{CUDA_R_16BF, CUDA_R_32F};
        let (rows, n, k) = (u64::from(shape.rows), u64::from(shape.n), u64::from(shape.k));
        let description = Description::of(shape, bias)?;
        let w = Layout::new(CUDA_R_16BF, k, n)?;
        let x = Layout::new(CUDA_R_16BF, k, rows)?;
        let out = Layout::new(if shape.f32_out { CUDA_R_32F } else { CUDA_R_16BF }, n, rows)?;
        let preference = Preference::of(shape)?;
        // Sound: an all-zero result is a value of this plain struct.
        let mut found: lt::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // Sound: all handles are alive, and room for one result is asked for and given.
        let status = unsafe {
            lt::cublasLtMatmulAlgoGetHeuristic(
                handle.0,
                description.0,
                w.0,
                x.0,
                out.0,
                out.0,
                preference.0,
                1,
                &mut found,
                &mut count,
            )
        };
        checked(status, format_args!("choosing an algorithm for {rows} x {n} x {k}"))?;
        if count == 0 {
            return Err(failed(format!("choosing an algorithm for {rows} x {n} x {k}"), "cuBLASLt has none"));
        }
        Ok(Matmul { description, w, x, out, algorithm: found.algo })
    }
}

macro_rules! handles {
    ($($(#[$meta:meta])* $name:ident($raw:ty) ends by $destroy:ident;)*) => { $(
        $(#[$meta])*
        struct $name($raw);

        impl Drop for $name {
            fn drop(&mut self) {
                // Sound: the handle was made by the library, and this is its only owner.
                unsafe { lt::$destroy(self.0) };
            }
        }
    )* };
}
handles! {
    /// The library's state on one device.
    Handle(lt::cublasLtHandle_t) ends by cublasLtDestroy;
    /// Types of sums, and what is transposed.
    Description(lt::cublasLtMatmulDesc_t) ends by cublasLtMatmulDescDestroy;
    /// Shape and type of a matrix.
    Layout(lt::cublasLtMatrixLayout_t) ends by cublasLtMatrixLayoutDestroy;
    /// What an algorithm may use.
    Preference(lt::cublasLtMatmulPreference_t) ends by cublasLtMatmulPreferenceDestroy;
}

impl Handle {
    fn new() -> Result<Handle> {
        let mut handle = std::ptr::null_mut();
        // Sound: `handle` is writable; the library was found before.
        checked(unsafe { lt::cublasLtCreate(&mut handle) }, "starting cuBLASLt")?;
        Ok(Handle(handle))
    }
}

impl Description {
    fn of(shape: &Shape, bias: u64) -> Result<Description> {
        use lt::cublasLtMatmulDescAttributes_t as Attribute;
        let description = Description::new()?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        if shape.bias {
            let epilogue = lt::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            let element = lt::cudaDataType_t::CUDA_R_16BF;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &element)?;
            description.set_bias(bias)?;
        }
        Ok(description)
    }

    /// Products of one shape share their description: each names its bias when it starts, and the library keeps a copy.
    fn set_bias(&self, address: u64) -> Result<()> {
        self.set(lt::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &address)
    }

    fn new() -> Result<Description> {
        let (sums, scale) = (lt::cublasComputeType_t::CUBLAS_COMPUTE_32F, lt::cudaDataType_t::CUDA_R_32F);
        let mut description = std::ptr::null_mut();
        // Sound: `description` is writable.
        checked(unsafe { lt::cublasLtMatmulDescCreate(&mut description, sums, scale) }, "describing a product")?;
        Ok(Description(description))
    }

    fn set<T>(&self, attribute: lt::cublasLtMatmulDescAttributes_t, value: &T) -> Result<()> {
        let value: *const T = value;
        // Sound: the value is as long as it says; the library copies it.
        let status = unsafe { lt::cublasLtMatmulDescSetAttribute(self.0, attribute, value.cast(), size_of::<T>()) };
        checked(status, "describing a product")
    }
}

impl Layout {
    fn new(element: lt::cudaDataType_t, rows: u64, columns: u64) -> Result<Layout> {
        let mut layout = std::ptr::null_mut();
        // Sound: `layout` is writable.
        let status = unsafe { lt::cublasLtMatrixLayoutCreate(&mut layout, element, rows, columns, rows as i64) };
        checked(status, "describing a matrix")?;
        Ok(Layout(layout))
    }
}

impl Preference {
    /// Split sums meet in f32 in the workspace, in a fixed order; never by atomics, so that a run repeats bit by bit.
    fn of(shape: &Shape) -> Result<Preference> {
        use lt::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let mut handle = std::ptr::null_mut();
        // Sound: `handle` is writable.
        checked(unsafe { lt::cublasLtMatmulPreferenceCreate(&mut handle) }, "asking for an algorithm")?;
        let preference = Preference(handle);
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &WORKSPACE_BYTES)?;
        let reduction = lt::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction)?;
        let [x, w, residual, out] = shape.alignments;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &w)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &x)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &residual)?;
        preference.set(Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &out)?;
        Ok(preference)
    }

    fn set<T>(&self, attribute: lt::cublasLtMatmulPreferenceAttributes_t, value: &T) -> Result<()> {
        let value: *const T = value;
        // Sound: the value is as long as it says; the library copies it.
        let status =
            unsafe { lt::cublasLtMatmulPreferenceSetAttribute(self.0, attribute, value.cast(), size_of::<T>()) };
        checked(status, "asking for an algorithm")
    }
}

fn checked(status: Status, doing: impl std::fmt::Display) -> Result<()> {
    if status == Status::CUBLAS_STATUS_SUCCESS { Ok(()) } else { Err(failed(doing, format!("{status:?}"))) }
}

/// Opens the library under its own name first, then where CUDA's installers put it. `cudarc` looks by name alone and
/// finds what is open already.
fn find() -> Result<()> {
    let mut tried = Vec::new();
    for candidate in NAMES.iter().map(PathBuf::from).chain(installed()) {
        // Sound: initialising NVIDIA's library has no requirement but a process.
        match unsafe { Library::new(&candidate) } {
            Ok(library) => {
                std::mem::forget(library);
                break;
            }
            Err(error) => tried.push(loader_words(&error)),
        }
    }
    // Sound: as above.
    if unsafe { lt::is_culib_present() } {
        return Ok(());
    }
    Err(Error::new(Category::Device, "cuBLASLt was not found")
        .details(tried.join("; "))
        .hint("install CUDA's cuBLAS library, or name its folder in LD_LIBRARY_PATH; --device cpu runs without it"))
}

fn installed() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/local/cuda/lib64"), PathBuf::from("/opt/cuda/lib64")];
    let versions = std::fs::read_dir("/usr/local").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = versions
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda-")))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    folders.extend(versions.iter().flat_map(|root| [root.join("lib64"), root.join("targets/x86_64-linux/lib")]));
    folders.extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"].map(PathBuf::from));
    let files = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    files.filter(|file| file.exists()).collect()
}
