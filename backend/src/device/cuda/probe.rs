//! What tests and benches ask of a GPU beside running plans.
use super::failure::Answer;
use super::program::{PrepareContext, Prepared};
use super::{Cuda, StepTime, profile};
use crate::device::{BufferId, PlanId, PlannedKernel};
use crate::error::Result;
use gpu_kernels::DeviceInfo;

impl Cuda {
    /// Bytes that the GPU has free.
    ///
    /// # Errors
    /// The device failed.
    pub fn free_bytes(&self) -> Result<u64> {
        self.make_current()?;
        cust::memory::mem_get_info().map(|(free, _)| free as u64).or_failed("asking for the free memory")
    }

    /// All bytes of a buffer, after all runs so far.
    ///
    /// # Errors
    /// The device failed.
    pub fn read_bytes(&self, buffer: BufferId) -> Result<Vec<u8>> {
        let place = self.model().arena.place(buffer.0);
        let mut bytes = vec![0; place.bytes as usize];
        self.read(place.address, &mut bytes)?;
        Ok(bytes)
    }

    /// Replaces all bytes of a buffer, after all runs so far.
    ///
    /// # Errors
    /// The device failed.
    ///
    /// # Panics
    /// If the buffer has another size.
    pub fn write_bytes(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<()> {
        self.make_current()?;
        self.lane().wait()?;
        let place = self.model().arena.place(buffer.0);
        assert_eq!(bytes.len() as u64, place.bytes, "`{}` is written whole", place.name);
        // SAFETY: the buffer is as long as the slice, and nothing is under way.
        unsafe { cust_raw::cuMemcpyHtoD_v2(place.address, bytes.as_ptr().cast(), bytes.len()) }
            .or_failed(format_args!("writing `{}`", place.name))?;
        cust::context::CurrentContext::synchronize().or_failed(format_args!("writing `{}`", place.name))
    }

    /// Runs one kernel by itself, launched as on `device`, and waits for it; in check mode the guards are looked at, but
    /// nothing is made undefined.
    ///
    /// # Errors
    /// The kernel's requirements are not met, the PTX that this GPU runs has no such kernel, or the device failed.
    pub fn run_kernel_for(&mut self, device: &DeviceInfo, kernel: &dyn PlannedKernel) -> Result<()> {
        self.make_current()?;
        let prepared = Prepared::launch(kernel, &mut PrepareContext { info: device, ..self.prepare_context() })?;
        prepared.enqueue(self.lane())?;
        self.lane().wait()?;
        self.model.as_ref().expect("`allocate` comes first").arena.check_guards()
    }

    /// Times every step of a plan by itself: the median of `runs` runs, in the order of the plan.
    ///
    /// The runs change what the plan changes: the sequences on the device are of no use afterwards.
    ///
    /// # Errors
    /// The device failed.
    pub fn profile(&mut self, plan: PlanId, runs: usize) -> Result<Vec<StepTime>> {
        self.make_current()?;
        profile::profile(&self.program(plan).steps, runs, self.lane())
    }
}
