//! The emulator as a target: each buffer a guarded allocation, and what is undefined may not be read.
use std::sync::LazyLock;

use gpu_kernels::{DeviceInfo, Element};
use half::bf16;
use nemotron_backend::device::cuda::{Ptx, embedded_ptx};
use nemotron_backend::device::{Activation, PlannedKernel};
use ptx_emulator::{Launch, Memory, Module, Options};

use crate::data::{Buffer, Data, Values};
use crate::target::{Outcome, Target};

/// The kernels' PTX, as the program embeds it.
static PTX: LazyLock<Ptx> = LazyLock::new(|| embedded_ptx((8, 0)).expect("it is embedded"));

/// What compute capability 9.0 makes of it.
static HOPPER_PTX: LazyLock<Ptx> = LazyLock::new(|| embedded_ptx((9, 0)).expect("it is embedded"));

static MODULE: LazyLock<Module> = LazyLock::new(|| Module::parse(&PTX.text).expect("the emulator knows our PTX"));

static HOPPER_MODULE: LazyLock<Module> =
    LazyLock::new(|| Module::parse(&HOPPER_PTX.text).expect("the emulator knows our promoted PTX"));

/// The GPUs that launches are made for: the first that ran sm_80's PTX, one of little shared memory, the one that
/// multiplies by warpgroups, and a part of it so small that every grid fills it.
pub const DEVICES: [DeviceInfo; 4] = [
    DeviceInfo {
        compute_capability: (8, 0),
        multiprocessors: 108,
        shared_bytes_per_block: 163 * 1024,
        clusters: false,
    },
    DeviceInfo { compute_capability: (8, 9), multiprocessors: 58, shared_bytes_per_block: 99 * 1024, clusters: false },
    DeviceInfo { compute_capability: (9, 0), multiprocessors: 132, shared_bytes_per_block: 227 * 1024, clusters: true },
    DeviceInfo { compute_capability: (9, 0), multiprocessors: 1, shared_bytes_per_block: 227 * 1024, clusters: true },
];

/// The devices on which a kernel launches differently.
pub fn devices(kernel: &dyn PlannedKernel) -> impl Iterator<Item = DeviceInfo> {
    let form = |device: &DeviceInfo| {
        let launch = kernel.launch(device);
        (launch.symbol, launch.grid, launch.block, launch.shared_bytes)
    };
    let is_new = move |at: &usize| DEVICES[..*at].iter().all(|other| form(other) != form(&DEVICES[*at]));
    (0..DEVICES.len()).filter(is_new).map(|at| DEVICES[at])
}

/// The PTX that a device runs.
pub fn ptx(device: &DeviceInfo) -> &'static str {
    if device.has_wgmma() { &HOPPER_PTX.text } else { &PTX.text }
}

/// Runs the entries of a module.
pub struct Emulator<'a> {
    /// Other PTX than the device's.
    module: Option<&'a Module>,
    /// How it runs.
    pub options: Options,
    /// What launches are made for.
    pub device: DeviceInfo,
}

impl Emulator<'static> {
    /// The kernels as they are.
    pub fn new() -> Emulator<'static> {
        Emulator { module: None, options: Options::default(), device: DEVICES[0] }
    }
}

impl Emulator<'_> {
    /// Other PTX with the same entries, which may run astray.
    pub fn of(module: &Module) -> Emulator<'_> {
        let options = Options { instruction_budget: 1 << 20, ..Options::default() };
        Emulator { module: Some(module), options, device: DEVICES[0] }
    }

    fn module(&self) -> &Module {
        match self.module {
            Some(module) => module,
            None if self.device.has_wgmma() => &HOPPER_MODULE,
            None => &MODULE,
        }
    }
}

impl Target for Emulator<'_> {
    fn name(&self) -> String {
        "emulator".into()
    }

    fn run(&mut self, kernel: &dyn PlannedKernel, data: &Data) -> Result<Outcome, String> {
        let mut memory = Memory::new();
        let mut addresses = Vec::new();
        for buffer in &data.0 {
            let address = memory.allocate(buffer.name, buffer.len() * element_bytes(buffer.element));
            memory.write(address, &bytes(buffer)).map_err(|fault| fault.to_string())?;
            addresses.push(address);
        }
        let args = kernel
            .args(&mut |buffer, offset, element| addresses[buffer as usize] + offset * element_bytes(element) as u64);
        let launch = kernel.launch(&self.device);
        let shape = Launch {
            grid: launch.grid,
            block: launch.block,
            shared_bytes: launch.shared_bytes,
            cluster: launch.cluster,
        };
        let ran = self.module().launch_with(&memory, launch.symbol, &shape, &args, &self.options);
        ran.map_err(|fault| fault.to_string())?;
        data.0.iter().zip(addresses).map(|(buffer, address)| contents(&memory, buffer, address)).collect()
    }
}

fn element_bytes(element: Element) -> usize {
    element.bytes(bf16::BYTES) as usize
}

/// What a buffer holds before the launch; nothing if it is undefined.
fn bytes(buffer: &Buffer) -> Vec<u8> {
    match (&buffer.values, buffer.element) {
        (Values::Undefined(_), _) => Vec::new(),
        (Values::Codes(_, codes), _) => codes.clone(),
        (Values::Integers(integers), _) => integers.iter().flat_map(|value| value.to_le_bytes()).collect(),
        (Values::Reals(codes), Element::Kv8 | Element::Packed) => codes.iter().map(|code| *code as u8).collect(),
        (Values::Reals(reals), Element::F32) => reals.iter().flat_map(|value| value.to_le_bytes()).collect(),
        (Values::Reals(reals), _) => reals.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    }
}

fn contents(memory: &Memory, buffer: &Buffer, address: u64) -> Result<Vec<Option<f64>>, String> {
    let width = element_bytes(buffer.element);
    let mut bytes = vec![0; buffer.len() * width];
    let defined = memory.read_any(address, &mut bytes).map_err(|fault| fault.to_string())?;
    let value = |bytes: &[u8]| match (buffer.element, bytes) {
        (Element::I32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
        (Element::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (Element::Packed | Element::Kv8, &[code]) => f64::from(code),
        (_, &[a, b]) => f64::from(bf16::from_le_bytes([a, b]).to_f32()),
        _ => f64::NAN,
    };
    let elements = bytes.chunks(width).zip(defined.chunks(width));
    Ok(elements.map(|(bytes, defined)| defined.contains(&true).then(|| value(bytes))).collect())
}
