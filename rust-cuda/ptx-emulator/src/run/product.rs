//! `wgmma`: products of a warpgroup that run on while its threads do other things.
//!
//! Each of the four warps multiplies its own 16 rows when the instruction is issued. Until the wait the registers belong to
//! the product, and what it read may not be written.

use super::{Env, access::Checked, matrix::multiply_add, warp::Warp};
use crate::fault::{FaultKind, Trouble};
use crate::float::Canonical;
use crate::lanes::{LANES, Slot};
use crate::memory::shared::Shared;
use crate::program::{Left, Product, Program};

/// Bytes of a line of a matrix, and of what its permutation moves as one.
const LINE: u64 = 128;
const PIECE: usize = 16;

/// Who may use a register that products own.
#[derive(Clone, Copy)]
struct Owner {
    /// The group of the latest product that has it, from 1; 0: none had it.
    group: u32,
    /// Touched by another instruction since the last fence.
    touched: bool,
}

/// 16 bytes that a product reads, and what stood for their writers at its start.
struct Read {
    group: u32,
    address: u64,
    writers: [u32; PIECE / 4],
}

/// A warp's products under way.
#[derive(Default)]
pub struct Products {
    owners: Vec<Owner>,
    reads: Vec<Read>,
    committed: u32,
    completed: u32,
}

impl Products {
    pub fn reset(&mut self, program: &Program) {
        self.owners.clear();
        self.owners.resize(program.owned.len(), Owner { group: 0, touched: true });
        self.reads.clear();
        (self.committed, self.completed) = (0, 0);
    }

    pub fn fence(&mut self) {
        self.owners.iter_mut().for_each(|owner| owner.touched = false);
    }

    pub fn commit(&mut self) {
        self.committed += 1;
    }

    /// Whether another instruction may touch a register of 32 bits; it is noted.
    pub fn touch(&mut self, program: &Program, slot: Slot) -> bool {
        let slot = slot as usize;
        if !program.owned.get(slot).copied().unwrap_or(false) {
            return true;
        }
        let owner = &mut self.owners[slot];
        owner.touched = true;
        owner.group <= self.completed
    }
}

/// Where a matrix lies in shared memory, as a descriptor says.
struct Matrix {
    start: u64,
    leading: u64,
    stride: u64,
}

impl Matrix {
    /// None where the descriptor is of a form that is not known: its lines are permuted over 128 bytes, without an offset.
    fn described(bits: u64) -> Option<Matrix> {
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        let (kind, offset) = (bits >> 62, bits >> 49 & 7);
        (kind == 1 && offset == 0).then_some(Matrix { start: field(0), leading: field(16), stride: field(32) })
    }

    /// Address of the piece that is `byte` bytes behind the start of line `line`, as if nothing were permuted.
    fn piece(&self, line: usize, byte: usize) -> u64 {
        let (line, byte) = (line as u64, byte as u64);
        let (matrix, byte) = (byte / LINE, byte % LINE);
        let at = self.start + matrix * self.leading + line / 8 * self.stride + line % 8 * LINE + byte;
        at ^ (at / LINE % 8) << 4
    }
}

impl Warp {
    /// Notes that an instruction which is no product touches registers; a fault if a product has one of them.
    pub fn touch_owned(&mut self, env: &Env, registers: impl Iterator<Item = Slot>, lane: usize) -> Checked {
        let mut registers = registers;
        if registers.all(|slot| self.products.touch(env.program, slot)) {
            return Ok(());
        }
        let message = "a register of a product that no wgmma.wait_group has waited for";
        Err(Trouble::new(FaultKind::UnfinishedProduct, lane, None, message))
    }

    pub fn product(&mut self, env: &Env, shared: &mut Shared, product: &Product, mask: u32) -> Checked {
        self.whole_warp(mask)?;
        self.own(env, product)?;
        let mut a = [[0f64; 16]; 16];
        match &product.a {
            Left::Registers(slots) => self.fragment(slots, &mut a),
            Left::Memory(descriptor) => {
                let matrix = self.matrix(*descriptor)?;
                for (row, line) in a.iter_mut().zip(self.index % 4 * 16..) {
                    for (half, elements) in row.chunks_exact_mut(8).enumerate() {
                        elements.copy_from_slice(&self.piece(shared, matrix.piece(line, half * PIECE))?);
                    }
                }
            }
        }
        let matrix = self.matrix(product.b)?;
        for (tile, slots) in product.d.chunks_exact(4).enumerate() {
            let b = self.columns(shared, &matrix, 8 * tile, product.by_rows)?;
            self.add(&a, &b, slots, product.accumulates);
        }
        self.clocks.warp_sync();
        Ok(())
    }

    /// Hands a product its registers.
    fn own(&mut self, env: &Env, product: &Product) -> Checked {
        let fault = |message| Err(Trouble::new(FaultKind::UnfinishedProduct, 0, None, message));
        if (env.threads() as usize) < (self.index / 4 + 1) * 4 * LANES {
            return fault("a product needs the 128 threads of a warpgroup");
        }
        let Products { owners, committed, .. } = &mut self.products;
        let registers = if let Left::Registers(a) = &product.a { &a[..] } else { &[] };
        for slot in product.d.iter().chain(registers) {
            let owner = &mut owners[*slot as usize];
            if owner.touched {
                return fault("a register that was touched behind the last wgmma.fence");
            }
            owner.group = *committed + 1;
        }
        Ok(())
    }

    /// The warp's 16 rows of a, held in registers as `mma.m16n8k16` holds them.
    fn fragment(&self, slots: &[Slot; 4], a: &mut [[f64; 16]; 16]) {
        for (i, slot) in slots.iter().enumerate() {
            for (lane, bits) in self.regs.r32[*slot as usize].iter().enumerate() {
                let (row, column) = (lane / 4 + 8 * (i % 2), 2 * (lane % 4) + 8 * (i / 2));
                a[row][column] = f64::from(f32::from_bits(bits << 16));
                a[row][column + 1] = f64::from(f32::from_bits(bits & 0xffff_0000));
            }
        }
    }

    fn matrix(&self, descriptor: Slot) -> Result<Matrix, Box<Trouble>> {
        let row = &self.regs.r64[descriptor as usize];
        let lane = (0..LANES).find(|l| row[*l] != row[0]).unwrap_or(0);
        Matrix::described(row[0]).filter(|_| lane == 0).ok_or_else(|| {
            let message =
                format!("descriptor {:#018x}: one of 128-byte swizzle, the same in all lanes, is known", row[lane]);
            Trouble::new(FaultKind::UnknownInstruction, lane, None, message)
        })
    }

    /// Eight columns of b from `first` on: lines are columns, or with `by_rows` rows.
    fn columns(
        &mut self,
        shared: &mut Shared,
        matrix: &Matrix,
        first: usize,
        by_rows: bool,
    ) -> Result<[[f64; 8]; 16], Box<Trouble>> {
        let mut b = [[0f64; 8]; 16];
        if by_rows {
            for (k, row) in b.iter_mut().enumerate() {
                *row = self.piece(shared, matrix.piece(k, 2 * first))?;
            }
            return Ok(b);
        }
        for n in 0..8 {
            for half in 0..2 {
                let elements = self.piece(shared, matrix.piece(first + n, half * PIECE))?;
                b[8 * half..][..8].iter_mut().zip(elements).for_each(|(row, element)| row[n] = element);
            }
        }
        Ok(b)
    }

    /// Eight elements of shared memory that the product under way reads.
    fn piece(&mut self, shared: &mut Shared, address: u64) -> Result<[f64; 8], Box<Trouble>> {
        self.check_shared(shared, 0, address, PIECE)?;
        self.clocks.used = true;
        let (thread, at) = (self.first_thread(), address as usize);
        shared.read_published(&self.clocks, thread, at, PIECE).map_err(|refusal| self.refused(refusal, 0, address))?;
        let writers = shared.writers(at);
        self.products.reads.push(Read { group: self.products.committed + 1, address, writers });
        Ok(std::array::from_fn(|i| f64::from(f32::from_bits((shared.load(at + 2 * i, 2) as u32) << 16))))
    }

    /// `d = a·b`, or `d += a·b`, of eight columns; products and sums in f64, rounded to f32 once.
    fn add(&mut self, a: &[[f64; 16]; 16], b: &[[f64; 8]; 16], slots: &[Slot], accumulates: bool) {
        let mut d = [[0f64; 8]; 16];
        let place = |lane: usize, i: usize| (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
        if accumulates {
            for (i, slot) in slots.iter().enumerate() {
                for (lane, bits) in self.regs.r32[*slot as usize].iter().enumerate() {
                    let (row, column) = place(lane, i);
                    d[row][column] = f64::from(f32::from_bits(*bits));
                }
            }
        }
        multiply_add(a, b, &mut d);
        for (i, slot) in slots.iter().enumerate() {
            for (lane, bits) in self.regs.r32[*slot as usize].iter_mut().enumerate() {
                let (row, column) = place(lane, i);
                *bits = (d[row][column] as f32).canonical().to_bits();
            }
        }
    }

    /// Ends all but the latest `newest` groups: up to here they have read shared memory.
    pub fn product_wait(&mut self, shared: &mut Shared, newest: u32, mask: u32) -> Checked {
        self.whole_warp(mask)?;
        let completed = self.products.committed.saturating_sub(newest).max(self.products.completed);
        self.products.completed = completed;
        let (done, running) = std::mem::take(&mut self.products.reads).into_iter().partition(|r| r.group <= completed);
        self.products.reads = running;
        let done: Vec<Read> = done;
        let (thread, mut last) = (self.first_thread(), None);
        self.clocks.used = true;
        for Read { address, writers, .. } in done {
            let at = address as usize;
            if shared.writers(at) != writers {
                let message = "shared memory that a product was still reading has been written";
                return Err(Trouble::new(FaultKind::SharedRace, 0, Some(address), message));
            }
            if last.replace(address) != Some(address) {
                let read = shared.read(&self.clocks, thread, at, PIECE, false);
                read.map_err(|refusal| self.refused(refusal, 0, address))?;
            }
        }
        self.clocks.warp_sync();
        Ok(())
    }
}
