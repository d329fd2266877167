//! Products by cuBLASLt, opened at run time: bf16 times bf16, or e4m3 times e4m3 with a scale for each row of both, summed in f32;
//! the algorithm of a shape is chosen once.
use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::cublaslt::sys::{self as lt, cublasStatus_t as Status};
use cust::context::{Context, CurrentContext};
use cust::memory::DeviceBuffer;
use cust::stream::{Stream, StreamFlags};

use super::failure::{Answer, failed};
use super::library;
use crate::error::Result;

/// Device memory for the sums of products whose columns are split; what cuBLAS itself takes on Hopper.
pub const WORKSPACE_BYTES: u64 = 32 << 20;

/// `CUBLAS_OP_T` of cublas_api.h, which the bindings of cuBLASLt leave out.
const TRANSPOSED: i32 = 1;

/// What the choice of an algorithm depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Token rows.
    pub rows: u32,
    /// Rows of the weight.
    pub n: u32,
    /// Columns of the weight.
    pub k: u32,
    /// Elements from one row of the result to the next.
    pub stride: u32,
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether there is something to add the product to.
    pub residual: bool,
    /// Whether the result is f32 instead of bf16.
    pub f32_out: bool,
    /// Whether x and w are codes of e4m3.
    pub fp8: bool,
    /// Powers of two that divide the addresses of x, w, residual and out.
    pub alignments: [u32; 4],
}

/// Shape and addresses of `out[rows, n] = x[rows, k] · w[n, k]ᵀ + bias[n] + residual[rows, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Rows, n, k.
    pub shape: [u32; 3],
    /// Elements from one row of the result, and of the residual, to the next.
    pub stride: u32,
    /// Address of x.
    pub x: u64,
    /// Address of w.
    pub w: u64,
    /// Where x and w are codes of e4m3, the addresses of the scales of their rows.
    pub scales: Option<[u64; 2]>,
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
        let (bias, residual, fp8) = (self.bias != 0, self.residual != 0, self.scales.is_some());
        Shape { rows, n, k, stride: self.stride, bias, residual, f32_out: self.f32_out, fp8, alignments }
    }
}

/// A product whose addresses and algorithm are known.
#[derive(Clone, Copy, Debug)]
pub struct PreparedGemm {
    matmul: usize,
    operands: Operands,
}

/// cuBLASLt on one device, started for the first product.
#[derive(Default)]
pub struct CublasLt {
    matmuls: Vec<Matmul>,
    chosen: HashMap<Shape, usize>,
    started: Option<Started>,
}

struct Started {
    handle: Handle,
    workspace: DeviceBuffer<u8>,
}

impl CublasLt {
    /// Starts the library in `context`, and has it load what it loads for its first products of each kind.
    ///
    /// # Errors
    /// It does not start, or memory is short.
    pub fn warm(&mut self, context: &Context) -> Result<()> {
        CurrentContext::set_current(context).or_failed("entering the context")?;
        let stream = Stream::new(StreamFlags::NON_BLOCKING, None).or_failed("creating a stream")?;
        let workspace = self.start()?.workspace.as_device_ptr().as_raw();
        for f32_out in [false, true] {
            let [x, w, out] = [0, 1, 2].map(|index| workspace + WORKSPACE_BYTES / 4 * index);
            let plain =
                Operands { shape: [64, 256, 256], stride: 256, x, w, scales: None, bias: 0, residual: 0, out, f32_out };
            let product = self.prepare(plain)?;
            self.enqueue(&product, &stream)?;
        }
        stream.synchronize().or_failed("waiting for the first products")
    }

    /// What the library has on the device of the current context; opens the library for the first product.
    ///
    /// # Errors
    /// There is no such library, or it does not start.
    fn start(&mut self) -> Result<&Started> {
        if self.started.is_none() {
            library::find()?;
            // SAFETY: the workspace holds nothing between two products.
            let workspace = unsafe { DeviceBuffer::uninitialized(WORKSPACE_BYTES as usize) }
                .or_failed("allocating the workspace of cuBLASLt")?;
            self.started = Some(Started { handle: Handle::new()?, workspace });
        }
        Ok(self.started.as_ref().expect("it was just started"))
    }

    /// Prepares a product.
    ///
    /// # Errors
    /// The library has no algorithm for the shape.
    pub fn prepare(&mut self, operands: Operands) -> Result<PreparedGemm> {
        let shape = operands.shape();
        let matmul = match self.chosen.get(&shape) {
            Some(index) => *index,
            None => {
                let matmul = Matmul::choose(&self.start()?.handle, &operands)?;
                self.matmuls.push(matmul);
                *self.chosen.entry(shape).or_insert(self.matmuls.len() - 1)
            }
        };
        Ok(PreparedGemm { matmul, operands })
    }

    /// Enqueues a product.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn enqueue(&self, product: &PreparedGemm, stream: &Stream) -> Result<()> {
        let (matmul, operands) = (&self.matmuls[product.matmul], &product.operands);
        let Started { handle, workspace } = self.started.as_ref().expect("the product was prepared");
        matmul.description.set_addresses(operands)?;
        let (one, zero) = (1f32, 0f32);
        let out = operands.out as *mut c_void;
        let (kept, residual) =
            if operands.residual == 0 { (&zero, out) } else { (&one, operands.residual as *mut c_void) };
        // SAFETY: descriptors and algorithm belong together, the addresses were resolved from the arena for this shape, and
        // products that share the workspace follow each other in one stream.
        let status = unsafe {
            lt::cublasLtMatmul(
                handle.0,
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
                workspace.as_device_ptr().as_raw() as *mut c_void,
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
    fn choose(handle: &Handle, operands: &Operands) -> Result<Matmul> {
        use lt::cudaDataType_t::{CUDA_R_8F_E4M3, CUDA_R_16BF, CUDA_R_32F};
        let shape = &operands.shape();
        let (rows, n, k) = (u64::from(shape.rows), u64::from(shape.n), u64::from(shape.k));
        let description = Description::of(operands)?;
        let factor = if shape.fp8 { CUDA_R_8F_E4M3 } else { CUDA_R_16BF };
        let w = Layout::new(factor, [k, n], k)?;
        let x = Layout::new(factor, [k, rows], k)?;
        let element = if shape.f32_out { CUDA_R_32F } else { CUDA_R_16BF };
        let out = Layout::new(element, [n, rows], u64::from(shape.stride))?;
        let preference = Preference::of(shape)?;
        // SAFETY: an all-zero result is a value of this plain struct.
        let mut found: lt::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // SAFETY: all handles are alive, and room for one result is asked for and given.
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

        // SAFETY: the library's objects belong to no thread, and there is one owner.
        unsafe impl Send for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the handle was made by the library, and this is its only owner.
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
        // SAFETY: `handle` is writable; the library was found before.
        checked(unsafe { lt::cublasLtCreate(&mut handle) }, "starting cuBLASLt")?;
        Ok(Handle(handle))
    }
}

impl Description {
    fn of(operands: &Operands) -> Result<Description> {
        use lt::cublasLtMatmulDescAttributes_t as Attribute;
        let description = Description::new()?;
        description.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        if operands.bias != 0 {
            let epilogue = lt::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            let element = lt::cudaDataType_t::CUDA_R_16BF;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &element)?;
        }
        if operands.scales.is_some() {
            // A scale for each row of both: compute capability 9.0, cuBLAS 12.9.
            let mode = lt::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode)?;
            description.set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode)?;
        }
        description.set_addresses(operands)?;
        Ok(description)
    }

    /// Products of one shape share their description: each names its bias and scales when it starts, and the library keeps a
    /// copy.
    fn set_addresses(&self, operands: &Operands) -> Result<()> {
        use lt::cublasLtMatmulDescAttributes_t as Attribute;
        if operands.bias != 0 {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands.bias)?;
        }
        if let Some([x, w]) = operands.scales {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &w)?;
            self.set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &x)?;
        }
        Ok(())
    }

    fn new() -> Result<Description> {
        let (sums, scale) = (lt::cublasComputeType_t::CUBLAS_COMPUTE_32F, lt::cudaDataType_t::CUDA_R_32F);
        let mut description = std::ptr::null_mut();
        // SAFETY: `description` is writable.
        checked(unsafe { lt::cublasLtMatmulDescCreate(&mut description, sums, scale) }, "describing a product")?;
        Ok(Description(description))
    }

    fn set<T>(&self, attribute: lt::cublasLtMatmulDescAttributes_t, value: &T) -> Result<()> {
        let value: *const T = value;
        // SAFETY: the value is as long as it says; the library copies it.
        let status = unsafe { lt::cublasLtMatmulDescSetAttribute(self.0, attribute, value.cast(), size_of::<T>()) };
        checked(status, "describing a product")
    }
}

impl Layout {
    /// A column-major matrix whose columns are `stride` elements apart.
    fn new(element: lt::cudaDataType_t, [rows, columns]: [u64; 2], stride: u64) -> Result<Layout> {
        let mut layout = std::ptr::null_mut();
        // SAFETY: `layout` is writable.
        let status = unsafe { lt::cublasLtMatrixLayoutCreate(&mut layout, element, rows, columns, stride as i64) };
        checked(status, "describing a matrix")?;
        Ok(Layout(layout))
    }
}

impl Preference {
    /// Split sums meet in f32 in the workspace, in a fixed order; never by atomics, so that a run repeats bit by bit.
    fn of(shape: &Shape) -> Result<Preference> {
        use lt::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is writable.
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
        // SAFETY: the value is as long as it says; the library copies it.
        let status =
            unsafe { lt::cublasLtMatmulPreferenceSetAttribute(self.0, attribute, value.cast(), size_of::<T>()) };
        checked(status, "asking for an algorithm")
    }
}

fn checked(status: Status, doing: impl std::fmt::Display) -> Result<()> {
    if status == Status::CUBLAS_STATUS_SUCCESS { Ok(()) } else { Err(failed(doing, format!("{status:?}"))) }
}
