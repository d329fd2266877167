//! A parsed module: its entries, decoded, and its variables.

use crate::decode;
use crate::fault::{Fault, FaultKind};
use crate::memory::{MODULE_BASE, Memory, view::View};
use crate::parse::{self, Initial, ParseError, Source, Space, Variable};
use crate::program::Program;
use crate::run::{self, Env, Launch, Options, Queued, Stats};
use std::collections::HashMap;

/// PTX text, parsed and decoded.
pub struct Module {
    /// In the order of the text.
    entries: Vec<Program>,
    /// The module's `.global` and `.const` variables.
    variables: Memory,
    lines: Vec<String>,
}

impl Module {
    /// Parses a module. Every instruction of every entry is decoded now; one that is not known is an error here, except
    /// for those that only sm_90 and later have: they are a fault when they are executed.
    pub fn parse(ptx: &str) -> Result<Module, ParseError> {
        let source = parse::parse(ptx)?;
        let mut variables = Memory::starting_at(MODULE_BASE);
        let addresses = place(&source, &mut variables)?;
        let entries = source.functions.iter().filter(|f| f.is_entry && f.body.is_some());
        let entries = entries.map(|f| decode::entry(&source, &addresses, f)).collect::<Result<_, _>>()?;
        Ok(Module { entries, variables, lines: ptx.lines().map(|l| l.trim().to_string()).collect() })
    }

    /// Names of the entries, in the order of the text.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|e| e.name.as_str())
    }

    /// Runs `entry` on every core of the host. `params` are the raw bytes of the parameters, each at a multiple of its
    /// alignment.
    ///
    /// # Errors
    /// The fault of the first block (in x, then y, then z) that has one, and in it of the warp that reaches one first.
    pub fn launch(&self, memory: &Memory, entry: &str, launch: &Launch, params: &[u8]) -> Result<Stats, Fault> {
        self.launch_with(memory, entry, launch, params, &Options::default())
    }

    /// Like [`launch`](Module::launch), with a say in the number of host threads and the budget of instructions.
    ///
    /// # Errors
    /// As for [`launch`](Module::launch).
    pub fn launch_with(
        &self,
        memory: &Memory,
        entry: &str,
        launch: &Launch,
        params: &[u8],
        options: &Options,
    ) -> Result<Stats, Fault> {
        let program = self.program(entry)?;
        let env = Env { program, memory, variables: &self.variables, params, launch, options, view: None };
        run::launch(&env).map_err(|fault| self.quoted(fault))
    }

    /// Runs the queues of several devices at once, each device its launches one after the other, interleaved on one thread
    /// in an order that `seed` says. What one device writes another sees when it was released at the scope of the system
    /// and acquired there; else at any time, or never, as chance has it.
    ///
    /// A word in which two devices store different bytes counts as written by one of them.
    ///
    /// # Errors
    /// The first fault of any device.
    pub fn launch_devices(
        &self,
        memory: &Memory,
        queues: &[Vec<Queued>],
        seed: u64,
        options: &Options,
    ) -> Result<Stats, Fault> {
        run::run_devices(self, memory, queues, (seed, options)).map_err(|fault| self.quoted(fault))
    }

    pub(crate) fn env<'a>(
        &'a self,
        memory: &'a Memory,
        queued: &'a Queued,
        options: &'a Options,
        view: View<'a>,
    ) -> Result<Env<'a>, Fault> {
        let program = self.program(&queued.entry)?;
        let (launch, params) = (&queued.launch, &queued.params);
        Ok(Env { program, memory, variables: &self.variables, params, launch, options, view: Some(view) })
    }

    /// The fault with the text of its line.
    fn quoted(&self, mut fault: Fault) -> Fault {
        if let Some(place) = &mut fault.place {
            place.text = self.lines.get(place.line as usize - 1).cloned().unwrap_or_default();
        }
        fault
    }

    fn program(&self, entry: &str) -> Result<&Program, Fault> {
        self.entries.iter().find(|e| e.name == entry).ok_or_else(|| {
            let known: Vec<&str> = self.entries().collect();
            let message = format!("no entry `{entry}`; the module has {}", known.join(", "));
            Fault::new(FaultKind::BadLaunch, None, message)
        })
    }
}

/// Gives every variable of the module its address and its initial bytes.
fn place(source: &Source, memory: &mut Memory) -> Result<HashMap<String, u64>, ParseError> {
    let mut addresses = HashMap::new();
    let global = |v: &&Variable| matches!(v.space, Space::Global | Space::Const) && !v.is_extern;
    for variable in source.variables.iter().filter(global) {
        addresses.insert(variable.name.clone(), memory.allocate(&variable.name, variable.bytes()));
    }
    // A function's address can be stored and compared; calling through it is an error when it is decoded.
    for function in source.functions.iter().filter(|f| !addresses.contains_key(&f.name)).collect::<Vec<_>>() {
        addresses.insert(function.name.clone(), memory.allocate(&function.name, 0));
    }
    for variable in source.variables.iter().filter(global) {
        let mut bytes = Vec::new();
        for initial in &variable.initial {
            let bits = match initial {
                Initial::Bits(bits) => *bits,
                Initial::Address(name, offset) => match addresses.get(name) {
                    Some(address) => address.wrapping_add_signed(*offset),
                    None => return Err(ParseError::new(variable.line, format!("unknown name `{name}`"))),
                },
            };
            bytes.extend_from_slice(&bits.to_le_bytes()[..variable.ty.bytes()]);
        }
        bytes.resize(variable.bytes(), 0);
        let written = memory.write(addresses[&variable.name], &bytes);
        written.map_err(|fault| ParseError::new(variable.line, fault.message))?;
    }
    Ok(addresses)
}
