//! The kernels' own rows on the GPU: the same data and tolerances as on the emulator, each buffer guarded.
use gpu_kernels::{DeviceInfo, Element};
use half::bf16;
use nemotron::device::cuda::{Cuda, Gpu, Options};
use nemotron::device::{BufferId, Device, PlannedKernel};

use crate::compare::checks;
use crate::data::{Buffer, Data, Values};
use crate::emulator::devices;
use crate::kernels;
use crate::oracle::{self, Oracle};
use crate::target::{Outcome, Target};
use crate::{Row, ensure, open, text};

macro_rules! rows {
    ($($file:ident $kernel:ident,)*) => {
        pub const ROWS: &[Row] = &[$((
            concat!("kernel: ", stringify!($file)),
            || agrees::<gpu_kernels::$kernel>(kernels::$file::rows()),
        ),)*];
    };
}
gpu_kernels::for_each_kernel!(rows);

/// Runs every row as this GPU launches it, and in turn as another would whose choice its PTX has too.
fn agrees<K: Oracle>(rows: Vec<oracle::Row<K>>) -> Result<String, String> {
    let own = Gpu::new(0).map_err(text)?.info;
    // Held open: without it, most of the time is spent with opening the device for each launch.
    let _held = open(Options::default())?;
    let checks = checks(&rows);
    let (mut launches, mut faults) = (0, Vec::new());
    for (number, check) in checks.iter().enumerate() {
        let form = |device: &DeviceInfo| {
            let launch = PlannedKernel::launch(&check.row.kernel, device);
            (launch.symbol, launch.block)
        };
        let mut others: Vec<DeviceInfo> = devices(&check.row.kernel).collect();
        others.retain(|device| (own.has_wgmma() || !device.has_wgmma()) && form(device) != form(&own));
        let other = others.get(number % others.len().max(1)).copied();
        for device in [own].into_iter().chain(other) {
            faults.extend(check.faults(&mut Launched(device)));
            launches += 1;
        }
    }
    ensure(faults.is_empty(), || faults.join("\n"))?;
    Ok(format!("{} shapes, {launches} launches", checks.len()))
}

/// GPU 0 in check mode, opened anew for each launch, which is made as for this device.
struct Launched(DeviceInfo);

impl Target for Launched {
    fn name(&self) -> String {
        format!("GPU, launched as on {:?}", self.0.compute_capability)
    }

    fn run(&mut self, kernel: &dyn PlannedKernel, data: &Data) -> Result<Outcome, String> {
        let mut cuda = open(Options { check: true, ..Options::default() })?;
        cuda.allocate(data.buffers()).map_err(text)?;
        for (number, buffer) in data.0.iter().enumerate() {
            let bytes = match &buffer.values {
                Values::Reals(codes) if matches!(buffer.element, Element::Kv8 | Element::Packed) => {
                    codes.iter().map(|code| *code as u8).collect()
                }
                Values::Reals(_) | Values::Codes(..) => continue,
                Values::Integers(integers) => bytemuck::cast_slice(integers).to_vec(),
                Values::Undefined(count) => vec![0xff; count * bytes_of(buffer.element)],
            };
            cuda.write_bytes(BufferId(number as u32), &bytes).map_err(text)?;
        }
        cuda.run_kernel_for(&self.0, kernel).map_err(text)?;
        data.0.iter().enumerate().map(|(number, buffer)| contents(&cuda, number, buffer)).collect()
    }
}

/// Bytes of an element on a GPU.
fn bytes_of(element: Element) -> usize {
    element.bytes(2) as usize
}

/// An undefined element that still holds nothing but ones was not written.
fn contents(cuda: &Cuda, number: usize, buffer: &Buffer) -> Result<Vec<Option<f64>>, String> {
    let bytes = cuda.read_bytes(BufferId(number as u32)).map_err(text)?;
    let undefined = matches!(buffer.values, Values::Undefined(_));
    let value = |bytes: &[u8]| match (buffer.element, bytes) {
        (Element::I32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
        (Element::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (Element::Packed | Element::Kv8, &[code]) => f64::from(code),
        (_, &[a, b]) => f64::from(bf16::from_le_bytes([a, b]).to_f32()),
        _ => f64::NAN,
    };
    let elements = bytes.chunks(bytes_of(buffer.element));
    Ok(elements.map(|bytes| (!undefined || bytes.iter().any(|byte| *byte != 0xff)).then(|| value(bytes))).collect())
}
