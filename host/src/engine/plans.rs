//! `Plans`: those that were met last, made for a bucket each and released when there are too many.
use std::collections::HashMap;

use super::Engine;
use crate::device::PlanId;
use crate::error::Result;
use crate::forward::{self, Bucket, StepInputs};

/// Plans that are kept unless the caller wants another number. A graph of a plan takes about a megabyte of a GPU's memory.
const DEFAULT_PLANS: usize = 256;
/// Most decode plans that are prepared: each takes some of a GPU's memory, which the plan of the memory does not count.
const MOST_PREPARED: usize = 512;

/// Runs of a plan that still prepare it: the first, and the one that is recorded.
pub(super) const PREPARING_RUNS: u64 = 2;

/// Runs behind which nothing of a decode plan is left to be prepared: a device may record one graph for every other run.
const PREPARED_RUNS: usize = 3;

/// A plan on the device.
#[derive(Clone, Copy)]
pub(super) struct Prepared {
    pub plan: PlanId,
    /// The plan that chooses the tokens, where `plan` does not.
    pub choice: Option<PlanId>,
    pub launches: u64,
    pub runs: u64,
    used: u64,
}

/// The plans on the device, by bucket.
pub(super) struct Plans {
    kept: HashMap<Bucket, Prepared>,
    most: usize,
    clock: u64,
    /// Those that note ids alone, by their rows and whether these are of a decode step.
    pub histories: HashMap<(usize, bool), PlanId>,
    /// The one that copies slots.
    pub copies: Option<PlanId>,
}

impl Default for Plans {
    fn default() -> Plans {
        Plans { kept: HashMap::new(), most: DEFAULT_PLANS, clock: 0, histories: HashMap::new(), copies: None }
    }
}

impl Plans {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.kept.len()
    }

    /// The plan of a bucket, which is used now.
    fn get(&mut self, bucket: &Bucket) -> Option<Prepared> {
        self.clock += 1;
        let known = self.kept.get_mut(bucket)?;
        known.used = self.clock;
        known.runs += 1;
        Some(*known)
    }

    fn add(&mut self, bucket: Bucket, plan: PlanId, choice: Option<PlanId>, launches: u64) -> Prepared {
        let prepared = Prepared { plan, choice, launches, runs: 0, used: self.clock };
        self.kept.insert(bucket, prepared);
        prepared
    }

    /// Takes out the plan that was not used for longest, where there are more than `most`.
    fn take_oldest(&mut self, most: usize) -> Option<Prepared> {
        let oldest = self.kept.iter().min_by_key(|(_, prepared)| prepared.used).filter(|_| self.kept.len() > most)?;
        let bucket = *oldest.0;
        self.kept.remove(&bucket)
    }
}

impl Engine {
    /// Keeps at most so many plans, one at least, and releases others now: those that were not used for longest.
    ///
    /// # Errors
    /// The device failed.
    pub fn keep_plans(&mut self, most: usize) -> Result<()> {
        self.plans.most = most.max(1);
        self.release_plans(self.plans.most)
    }

    fn release_plans(&mut self, most: usize) -> Result<()> {
        while let Some(oldest) = self.plans.take_oldest(most) {
            [Some(oldest.plan), oldest.choice].into_iter().flatten().try_for_each(|plan| self.device.release(plan))?;
            self.counters.released_plans += 1;
        }
        Ok(())
    }

    /// Makes the plans of one token and of a short prompt: a device that compiles its kernels compiles the model's now.
    ///
    /// # Errors
    /// The device does not take them.
    pub fn warm_up(&mut self) -> Result<()> {
        Bucket::first(self.layout.limits()).into_iter().try_for_each(|bucket| self.plan(bucket).map(|_| ()))
    }

    /// Whether a step is enqueued before the one in front has ended.
    pub fn runs_ahead(&self) -> bool {
        self.device.runs_ahead()
    }

    /// Makes the plan of every step in which each sequence adds one token and none waits for a mask, and runs it on nothing until
    /// it is recorded: no such step is held up later. Of more than 512 plans those of the greatest depth are left out. `tell` is
    /// given how many are done, and how many there are. The engine must be idle. These plans are kept beside the others.
    ///
    /// # Errors
    /// The device failed.
    pub fn prepare_decodes(&mut self, tell: &mut dyn FnMut(usize, usize)) -> Result<()> {
        self.land()?;
        let mut buckets = Bucket::decodes(self.layout.limits());
        buckets.truncate(MOST_PREPARED);
        self.plans.most = self.plans.most.max(buckets.len() + DEFAULT_PLANS);
        for (done, bucket) in buckets.iter().enumerate() {
            tell(done, buckets.len());
            self.rehearse(*bucket)?;
        }
        tell(buckets.len(), buckets.len());
        Ok(())
    }

    /// Runs a step of pads alone, which writes nothing that is read.
    fn rehearse(&mut self, bucket: Bucket) -> Result<()> {
        let start = std::time::Instant::now();
        self.resident = None;
        let inputs = StepInputs::new(&[], &bucket, self.layout.limits());
        for _ in 0..PREPARED_RUNS {
            let plan = self.plan(bucket)?.plan;
            let ticket = self.layout.with_inputs(&inputs, |inputs| self.device.run(plan, inputs))?;
            self.device.sampled(ticket)?;
        }
        self.counters.preparing += start.elapsed();
        Ok(())
    }

    /// The plan for a bucket, about to be run.
    pub(super) fn plan(&mut self, bucket: Bucket) -> Result<Prepared> {
        if let Some(known) = self.plans.get(&bucket) {
            return Ok(known);
        }
        self.release_plans(self.plans.most - 1)?;
        let plan = forward::plan(&self.layout, &bucket);
        let choice = bucket.masked.then(|| forward::choice_plan(&self.layout, &bucket));
        let launches = [Some(&plan), choice.as_ref()].into_iter().flatten().map(|plan| plan.steps.len() as u64).sum();
        let plan = self.device.prepare(plan)?;
        let choice = choice.map(|choice| self.device.prepare(choice)).transpose()?;
        self.counters.plans += 1;
        Ok(self.plans.add(bucket, plan, choice, launches))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rows: usize) -> Bucket {
        Bucket::decode(rows, 1)
    }

    #[test]
    fn the_plan_that_was_not_used_for_longest_goes_first() {
        let mut plans = Plans::default();
        for rows in 1..=3 {
            assert!(plans.get(&bucket(rows)).is_none());
            plans.add(bucket(rows), PlanId(rows), None, 1);
        }
        assert_eq!(plans.get(&bucket(1)).map(|prepared| prepared.runs), Some(1));
        let mut take = |most| plans.take_oldest(most).map(|prepared| prepared.plan);
        assert_eq!([3, 2, 1, 1].map(&mut take), [None, Some(PlanId(2)), Some(PlanId(3)), None]);
        assert_eq!((plans.count(), plans.get(&bucket(1)).map(|prepared| prepared.plan)), (1, Some(PlanId(1))));
    }
}
