//! Where a row runs. Every target starts from the same data and hands back every element.
use gpu_kernels::{Element, Ptr, Role};
use half::bf16;
use nemotron_backend::device::{Activation, Memory, PlannedKernel, Stored};

use crate::data::{Buffer, Data, Values};
use crate::oracle::Precision;

/// The elements of each buffer after the launch; none where nothing was written.
pub type Outcome = Vec<Vec<Option<f64>>>;

/// Runs a kernel on fresh buffers.
pub trait Target {
    /// What faults call it.
    fn name(&self) -> String;

    /// # Errors
    /// The launch was refused or failed, in words.
    fn run(&mut self, kernel: &dyn PlannedKernel, data: &Data) -> Result<Outcome, String>;
}

/// Undefined elements are filled with ones: NaN as a number, −1 as an integer.
const POISON: u32 = u32::MAX;

impl Target for Precision {
    fn name(&self) -> String {
        format!("reference {self:?}")
    }

    fn run(&mut self, kernel: &dyn PlannedKernel, data: &Data) -> Result<Outcome, String> {
        kernel.check()?;
        Ok(match self {
            Precision::F32 => reference::<f32>(kernel, data),
            Precision::Bf16 => reference::<bf16>(kernel, data),
        })
    }
}

fn reference<A: Activation>(kernel: &dyn PlannedKernel, data: &Data) -> Outcome {
    let memory = Memory::new::<A>(data.buffers());
    let activation_poison = A::from_f32(f32::from_bits(POISON));
    for (number, buffer) in data.0.iter().enumerate() {
        match (&buffer.values, buffer.element) {
            (Values::Integers(integers), _) => {
                memory.write_all::<i32>(pointer::<i32>(number)).copy_from_slice(integers);
            }
            (Values::Reals(codes), Element::Kv8 | Element::Packed) => {
                let codes: Vec<u8> = codes.iter().map(|code| *code as u8).collect();
                memory.write_all::<u8>(pointer::<i32>(number)).copy_from_slice(&codes);
            }
            (Values::Undefined(_), Element::Kv8 | Element::Packed) => fill(&memory, number, POISON as u8),
            (Values::Undefined(_), Element::I32) => fill(&memory, number, POISON as i32),
            (Values::Undefined(_), Element::F32) => fill(&memory, number, f32::from_bits(POISON)),
            (Values::Undefined(_), _) => fill(&memory, number, activation_poison),
            (Values::Reals(_) | Values::Codes(..), _) => {}
        }
    }
    A::reference(kernel, &memory);
    data.0.iter().enumerate().map(|(number, buffer)| contents::<A>(&memory, number, buffer)).collect()
}

fn pointer<R: Role>(number: usize) -> Ptr<R> {
    Ptr::new(number as u32, 0)
}

fn fill<T: Stored>(memory: &Memory, number: usize, value: T) {
    memory.write_all::<T>(pointer::<i32>(number)).fill(value);
}

fn contents<A: Activation>(memory: &Memory, number: usize, buffer: &Buffer) -> Vec<Option<f64>> {
    let undefined = matches!(buffer.values, Values::Undefined(_));
    let real = |value: f32, poison: f32| {
        let poisoned = undefined && value.to_bits() == poison.to_bits();
        (!poisoned).then_some(f64::from(value))
    };
    let integer = |value: i32| (!undefined || value != POISON as i32).then_some(f64::from(value));
    let (float, activation) = (f32::from_bits(POISON), A::from_f32(f32::from_bits(POISON)).to_f32());
    let source = pointer::<i32>(number);
    match buffer.element {
        Element::I32 => memory.read_all::<i32>(source).iter().map(|value| integer(*value)).collect(),
        Element::F32 => memory.read_all::<f32>(source).iter().map(|value| real(*value, float)).collect(),
        Element::Act | Element::Kv => {
            memory.read_all::<A>(source).iter().map(|value| real(value.to_f32(), activation)).collect()
        }
        Element::Kv8 | Element::Packed if !memory.is_weight(source) => {
            let code = |code: u8| (!undefined || code != POISON as u8).then_some(f64::from(code));
            memory.read_all::<u8>(source).iter().map(|value| code(*value)).collect()
        }
        Element::Kv8 | Element::Packed => {
            let (weight, _) = memory.weight_from(source);
            (0..weight.rows()).flat_map(|row| weight.row_bytes(row)).map(|code| Some(f64::from(*code))).collect()
        }
        Element::Weight => {
            let weight = memory.weight(pointer(number));
            (0..weight.rows()).flat_map(|row| weight.row(row)).map(|value| Some(value.to_f64())).collect()
        }
    }
}
