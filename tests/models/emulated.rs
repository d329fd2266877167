//! The emulated device: every step but the GEMMs runs as PTX on the emulator, each buffer a guarded allocation.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gpu_kernels::{Argmax, DeviceInfo, Element, Launch, Nvfp4Rows, Ptr, Role};
use half::bf16;
use nemotron::cpu;
use nemotron::device::{
    AllGather, AllReduce, BufferId, BufferKind, BufferSpec, Buffers, Device, Gemm, GemmOperands, Inputs, Memory,
    Output, Plan, PlanId, PlannedKernel, ScaledCodes, Seat, Step, Ticket, WeightPart,
};
use nemotron::error::{Category, Error, Result};
use ptx_emulator::{Fault, Module};

const ACT_BYTES: u64 = 2;
const INFO: DeviceInfo = DeviceInfo {
    compute_capability: (8, 0),
    multiprocessors: 108,
    shared_bytes_per_block: 163 * 1024,
    clusters: false,
};

/// How often each kernel ran as PTX, and how many products ran on the host.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    pub kernels: BTreeMap<&'static str, u64>,
    pub gemms: u64,
}

/// A device that runs PTX without a GPU. Scratch is undefined at the start of each step.
pub struct Emulated {
    module: Arc<Module>,
    memory: ptx_emulator::Memory,
    buffers: Vec<(u64, BufferSpec)>,
    /// A copy of the buffers for the GEMMs, which are not PTX.
    host: Memory,
    plans: Vec<Option<Plan>>,
    sampled: VecDeque<(Ticket, Vec<i32>)>,
    next: Ticket,
    ran: Arc<std::sync::Mutex<Ran>>,
    /// Whether it takes GEMMs.
    pub library: bool,
    /// Where it meets the other ranks, where it is one of several.
    pub seat: Option<Seat>,
}

impl Emulated {
    pub fn new(module: Arc<Module>, ran: Arc<std::sync::Mutex<Ran>>) -> Emulated {
        Emulated {
            module,
            memory: ptx_emulator::Memory::new(),
            buffers: Vec::new(),
            host: Memory::default(),
            plans: Vec::new(),
            sampled: VecDeque::new(),
            next: Ticket(0),
            ran,
            library: true,
            seat: None,
        }
    }

    fn address(&self, buffer: u32, offset: u64, element: Element) -> u64 {
        self.buffers[buffer as usize].0 + offset * element.bytes(ACT_BYTES)
    }

    fn read<T: bytemuck::Pod>(&self, (buffer, offset): (u32, u64), element: Element, count: usize) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); count];
        let address = self.address(buffer, offset, element);
        self.memory.read(address, bytemuck::cast_slice_mut(&mut values)).map_err(|fault| failure(&fault))?;
        Ok(values)
    }

    fn write<T: bytemuck::Pod>(&self, (buffer, offset): (u32, u64), element: Element, values: &[T]) -> Result<()> {
        let address = self.address(buffer, offset, element);
        self.memory.write(address, bytemuck::cast_slice(values)).map_err(|fault| failure(&fault))
    }

    fn upload(&mut self, id: BufferId, spec: &BufferSpec) -> Result<()> {
        let start = (id.0, 0);
        match &spec.kind {
            BufferKind::Weight(weight) => {
                let mut address = self.address(id.0, 0, spec.element);
                for part in weight.parts() {
                    self.upload_part(part, address)?;
                    address += (part.rows() * part.bytes_of_row()) as u64;
                }
                Ok(())
            }
            BufferKind::Constant(values) if spec.element == Element::F32 => self.write(start, spec.element, values),
            BufferKind::Constant(values) => {
                let narrowed: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
                self.write(start, spec.element, &narrowed)
            }
            BufferKind::Sampled { .. } | BufferKind::Counters => {
                self.write(start, spec.element, &vec![0i32; spec.elements as usize])
            }
            BufferKind::Input | BufferKind::Scratch | BufferKind::State | BufferKind::Slots => Ok(()),
        }
    }

    /// Codes and scales that come apart become rows as on a GPU, by PTX.
    fn upload_part(&mut self, part: &WeightPart, address: u64) -> Result<()> {
        if !part.comes_apart() {
            let part = part.clone().in_memory()?;
            let rows: Vec<u8> = (0..part.rows()).flat_map(|row| part.row_bytes(row).to_vec()).collect();
            return self.memory.write(address, &rows).map_err(|fault| failure(&fault));
        }
        let (rows, k) = (part.rows(), part.columns());
        let mut bytes = vec![0; rows * part.copied_bytes_of_row()];
        part.copy_rows(0..rows, &mut bytes)?;
        let apart = self.memory.allocate("codes and scales", bytes.len());
        self.memory.write(apart, &bytes).map_err(|fault| failure(&fault))?;
        let (codes, scales, y) = (Ptr::new(0, 0), Ptr::new(0, (rows * k / 2) as u64), Ptr::new(1, 0));
        let kernel = Nvfp4Rows { codes, scales, y, rows: rows as u32, k: k as u32 };
        self.launch(&kernel, &mut |buffer, offset, _| [apart, address][buffer as usize] + offset)?;
        self.memory.free(apart);
        Ok(())
    }

    /// Runs a kernel whose pointers are where `address` says.
    fn launch(&self, kernel: &dyn PlannedKernel, address: &mut dyn FnMut(u32, u64, Element) -> u64) -> Result<()> {
        let Launch { symbol, grid, block, shared_bytes, cluster, .. } = kernel.launch(&INFO);
        let shape = ptx_emulator::Launch { grid, block, shared_bytes, cluster };
        let stats = self.module.launch(&self.memory, symbol, &shape, &kernel.args(address));
        stats.map(drop).map_err(|fault| failure(&fault))
    }

    fn run_step(&self, step: &Step) -> Result<()> {
        let mut ran = self.ran.lock().expect("no thread died");
        match step {
            Step::Launch(kernel) => {
                *ran.kernels.entry(kernel.name()).or_default() += 1;
                self.launch(&**kernel, &mut |buffer, offset, element| self.address(buffer, offset, element))
            }
            Step::Gemm(gemm) => {
                ran.gemms += 1;
                self.gemm(gemm)
            }
            Step::AllReduce(sum) => {
                // Others come only when this rank no longer holds what they write to.
                drop(ran);
                self.all_reduce(sum)
            }
            Step::AllGather(gather) => {
                drop(ran);
                self.all_gather(gather)
            }
            Step::AllArgmax(choice) => {
                drop(ran);
                self.all_argmax(choice)
            }
        }
    }

    /// Sums meet on the host, as GEMMs do their work there.
    fn all_reduce(&self, sum: &AllReduce) -> Result<()> {
        let count = (sum.rows * sum.n) as usize;
        self.fetch_output(sum.x, count)?;
        if !sum.residual.is_null() {
            self.fetch(sum.residual, count)?;
        }
        cpu::all_reduce::<bf16>(sum, &self.host, self.seat.as_ref().expect("it is a rank"))?;
        self.store(Output::Act(sum.y), count)
    }

    fn all_gather(&self, gather: &AllGather) -> Result<()> {
        let (seat, count) = (self.seat.as_ref().expect("it is a rank"), (gather.rows * gather.n) as usize);
        self.fetch_output(gather.x, count)?;
        cpu::all_gather::<bf16>(gather, &self.host, seat)?;
        self.store(gather.y, count * seat.ranks())
    }

    fn all_argmax(&self, choice: &Argmax) -> Result<()> {
        let (rows, target) = (choice.rows as usize, |at: Ptr<i32>| at.target().expect("not null"));
        self.fetch_output(Output::F32(choice.logits), rows * choice.vocab as usize)?;
        let chosen = cpu::all_argmax(choice, &self.host, self.seat.as_ref().expect("it is a rank"))?;
        let slots: Vec<i32> = self.read(target(choice.slots), Element::I32, rows)?;
        for (slot, (id, fault)) in slots.into_iter().zip(chosen) {
            for (to, word) in [(choice.sampled, id), (choice.faults, fault)] {
                self.write(target(to.offset(slot as u64)), Element::I32, &[word])?;
            }
        }
        Ok(())
    }

    fn fetch_output(&self, from: Output, count: usize) -> Result<()> {
        match from {
            Output::Act(from) => self.fetch(from, count),
            Output::F32(from) => {
                let values: Vec<f32> = self.read(from.target().expect("not null"), Element::F32, count)?;
                self.host.write::<f32>(from, count).copy_from_slice(&values);
                Ok(())
            }
        }
    }

    /// Copies what a reference has written to where the kernels find it.
    fn store(&self, to: Output, count: usize) -> Result<()> {
        match to {
            Output::Act(y) => {
                self.write(y.target().expect("not null"), Element::Act, &self.host.read::<bf16>(y, count))
            }
            Output::F32(y) => self.write(y.target().expect("not null"), Element::F32, &self.host.read::<f32>(y, count)),
        }
    }

    /// Copies activations to where the references find them.
    fn fetch(&self, from: Ptr<impl Role>, count: usize) -> Result<()> {
        let values: Vec<bf16> = self.read(from.target().expect("not null"), Element::Act, count)?;
        self.host.write::<bf16>(from, count).copy_from_slice(&values);
        Ok(())
    }

    /// Copies codes and their scales likewise.
    fn fetch_codes(&self, from: ScaledCodes, rows: usize, k: usize) -> Result<()> {
        let codes: Vec<u8> = self.read(from.codes.target().expect("not null"), Element::Packed, rows * k)?;
        let scales: Vec<f32> = self.read(from.scales.target().expect("not null"), Element::F32, rows)?;
        self.host.write::<u8>(from.codes, rows * k).copy_from_slice(&codes);
        self.host.write::<f32>(from.scales, rows).copy_from_slice(&scales);
        Ok(())
    }

    /// The weight is either one, or a panel that a step has made of one.
    fn gemm(&self, gemm: &Gemm) -> Result<()> {
        match gemm.operands {
            GemmOperands::Bf16 { x, w } => {
                self.fetch(x, (gemm.rows * gemm.k) as usize)?;
                if !self.host.is_weight(w) {
                    self.fetch(w, (gemm.n * gemm.k) as usize)?;
                }
            }
            GemmOperands::Fp8 { x, .. } => self.fetch_codes(x, gemm.rows as usize, gemm.k as usize)?,
        }
        let rows = || (0..gemm.rows).map(|row| u64::from(row * gemm.stride));
        let count = gemm.n as usize;
        if !gemm.residual.is_null() {
            rows().try_for_each(|first| self.fetch(gemm.residual.offset(first), count))?;
        }
        <bf16 as cpu::Products>::gemm(gemm, &self.host);
        rows().try_for_each(|first| self.store(gemm.out.offset(first), count))
    }
}

impl Device for Emulated {
    fn description(&self) -> Vec<String> {
        vec!["PTX emulator".into()]
    }

    fn runs_ahead(&self) -> bool {
        true
    }

    fn matrix_library(&self) -> Result<()> {
        if self.library { Ok(()) } else { Err(Error::new(Category::Device, "there is none")) }
    }

    fn allocate(&mut self, buffers: Buffers) -> Result<()> {
        self.host = Memory::new::<bf16>(buffers.clone());
        for (id, spec) in buffers.iter() {
            let address = self.memory.allocate(&spec.name, spec.bytes(ACT_BYTES) as usize);
            self.buffers.push((address, spec.clone()));
            self.upload(id, spec)?;
        }
        Ok(())
    }

    fn prepare(&mut self, plan: Plan) -> Result<PlanId> {
        for step in &plan.steps {
            if let Step::Launch(kernel) = step {
                kernel.check().map_err(|requirement| Error::new(Category::Device, requirement))?;
            }
        }
        self.plans.push(Some(plan));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn release(&mut self, plan: PlanId) -> Result<()> {
        self.plans[plan.0] = None;
        Ok(())
    }

    fn enqueue(&mut self, plan: PlanId, inputs: &Inputs) -> Result<()> {
        for (target, values) in inputs.iter().filter(|(_, values)| !values.is_empty()) {
            self.write(target.target().expect("not null"), Element::I32, values)?;
        }
        for (address, spec) in self.buffers.iter().filter(|(_, spec)| matches!(spec.kind, BufferKind::Scratch)) {
            self.memory.undefine(*address, spec.bytes(ACT_BYTES) as usize);
        }
        let plan = self.plans[plan.0].as_ref().expect("a plan that was not released");
        plan.steps.iter().try_for_each(|step| self.run_step(step))
    }

    fn run(&mut self, plan: PlanId, inputs: &Inputs) -> Result<Ticket> {
        self.enqueue(plan, inputs)?;
        let mut all = self.buffers.iter().zip(0..);
        let sampled =
            all.find(|((_, spec), _)| matches!(spec.kind, BufferKind::Sampled { .. })).expect("a sampled buffer");
        let tokens = self.read((sampled.1, 0), Element::I32, sampled.0.1.elements as usize)?;
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.sampled.push_front((ticket, tokens));
        self.sampled.truncate(2);
        Ok(ticket)
    }

    fn sampled(&mut self, ticket: Ticket) -> Result<Vec<i32>> {
        let kept = self.sampled.iter().find(|(kept, _)| *kept == ticket);
        kept.map(|(_, tokens)| tokens.clone()).ok_or_else(|| Error::new(Category::Device, "the ticket is too old"))
    }

    fn read_f32(&mut self, source: Ptr<f32>, count: usize) -> Result<Vec<f32>> {
        self.read(source.target().expect("not null"), Element::F32, count)
    }

    fn read_i32(&mut self, source: Ptr<i32>, count: usize) -> Result<Vec<i32>> {
        self.read(source.target().expect("not null"), Element::I32, count)
    }

    fn give_up(&mut self) {
        self.seat.iter().for_each(Seat::give_up);
    }
}

fn failure(fault: &Fault) -> Error {
    Error::new(Category::Device, "The emulator found a fault").details(fault)
}
