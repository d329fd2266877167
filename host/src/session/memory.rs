//! How many KV pages fit into the memory that a model may use.
use crate::device::{cuda, host_memory};
use crate::engine::EngineConfig;
use crate::error::{Category, Error, Result, size};
use crate::forward::{Layout, Limits, MemorySizes, table_bytes};
use crate::models::spec::ModelSpec;

/// Share of a GPU's memory that may be in use, unless the user says otherwise.
pub const GPU_MEMORY_UTILIZATION: f64 = 0.9;

/// Share of the host's available memory that a model's buffers may take where there is a choice.
const HOST_SHARE: f64 = 0.9;

/// Most bytes that the start of a buffer is moved on.
const ALIGNMENT: u64 = 256;

/// Memory of a GPU, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuMemory {
    /// What nobody uses.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// What bounds the pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Bytes of keys and values in the host's memory, if that has so much, and how many ranks have equal parts of both; one whole
    /// sequence may have more.
    Cache(u64, u64),
    /// The share of a GPU's memory that may be in use, other programs' included.
    Gpu(GpuMemory, f64),
}

/// Bytes of a model's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    weights: u64,
    /// Activations, tables, inputs, the slots of sequences and what products need.
    workspace: u64,
    /// Keys and values of a page, in all layers.
    page: u64,
    /// Pages for as many whole contexts as sequences may run, and for one.
    most_pages: u64,
    least_pages: u64,
}

/// Part of what is left beside the weights that states of cached prefixes may have, and how many for each sequence, unless the
/// user says otherwise.
const SNAPSHOT_PART: u64 = 8;
const SNAPSHOTS_OF_SEQUENCE: u64 = 4;

/// More than any memory holds.
const MOST_SNAPSHOTS: u64 = 1 << 20;

/// How many states of cached prefixes are kept: as many as `asked` bytes hold; none for a model without a state.
pub fn spare_slots(spec: &ModelSpec, config: &EngineConfig, act_bytes: u64, bound: Bound, asked: Option<u64>) -> usize {
    let limits = config.limits();
    let (layout, memory) = Layout::new(spec, limits);
    if !layout.has_state() {
        return 0;
    }
    let sizes = memory.sizes(act_bytes);
    let more = Layout::new(spec, Limits { spare_slots: limits.spare_slots + 1, ..limits }).1.sizes(act_bytes);
    let slot = more.slots - sizes.slots;
    let count = match asked {
        Some(bytes) => (bytes / slot).min(MOST_SNAPSHOTS),
        None => Sizes::of(&sizes, &limits).snapshots(bound, slot).min(SNAPSHOTS_OF_SEQUENCE * limits.sequences as u64),
    };
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The KV pages of a model in `bound`: enough for one whole context, and at most for all sequences'.
///
/// # Errors
/// A GPU has no room for one context.
pub fn pages(spec: &ModelSpec, config: &EngineConfig, act_bytes: u64, bound: Bound) -> Result<usize> {
    let limits = config.limits();
    host_memory::check(&[("rotary tables", table_bytes(spec, limits.context))])?;
    let sizes = Sizes::of_model(spec, &limits, act_bytes);
    let pages = match bound {
        Bound::Cache(..) => sizes.pages_in(sizes.room(bound)).max(sizes.least_pages),
        Bound::Gpu(memory, utilization) => sizes.pages_on_gpu(memory, utilization, limits.context)?,
    };
    Ok(pages as usize)
}

/// Whether `bound` has room for the keys and values of one whole context.
pub fn holds_context(spec: &ModelSpec, config: &EngineConfig, act_bytes: u64, bound: Bound) -> bool {
    let limits = config.limits();
    let sizes = Sizes::of_model(spec, &limits, act_bytes);
    match bound {
        Bound::Cache(bytes, ranks) => sizes.pages_in(bytes / ranks) >= sizes.least_pages,
        Bound::Gpu(memory, utilization) => sizes.pages_on_gpu(memory, utilization, limits.context).is_ok(),
    }
}

impl Sizes {
    fn of_model(spec: &ModelSpec, limits: &Limits, act_bytes: u64) -> Sizes {
        Sizes::of(&Layout::new(spec, *limits).1.sizes(act_bytes), limits)
    }

    fn of(sizes: &MemorySizes, limits: &Limits) -> Sizes {
        let MemorySizes { weights, kv, slots, workspace, buffers } = *sizes;
        Sizes {
            weights,
            workspace: workspace + slots + ALIGNMENT * buffers + cuda::WORKSPACE_BYTES,
            page: kv / limits.pages as u64,
            most_pages: limits.pages as u64,
            least_pages: 1 + limits.pages_per_sequence() as u64,
        }
    }

    /// What is left beside the weights.
    fn room(&self, bound: Bound) -> u64 {
        match bound {
            Bound::Cache(bytes, ranks) => {
                let available = host_memory::available().map_or(u64::MAX, |bytes| (bytes as f64 * HOST_SHARE) as u64);
                (bytes / ranks).min((available / ranks).saturating_sub(self.workspace))
            }
            Bound::Gpu(memory, utilization) => {
                let in_use = memory.total - memory.free;
                let allowed = ((memory.total as f64 * utilization) as u64).saturating_sub(in_use);
                allowed.saturating_sub(self.weights + self.workspace)
            }
        }
    }

    /// How many states of `slot` bytes there are unless the user says: never so many that one context has no room.
    fn snapshots(&self, bound: Bound, slot: u64) -> u64 {
        let room = self.room(bound);
        (room / SNAPSHOT_PART).min(room.saturating_sub(self.page * self.least_pages)) / slot
    }

    fn pages_in(&self, bytes: u64) -> u64 {
        (bytes / self.page.max(1)).min(self.most_pages)
    }

    fn pages_on_gpu(&self, memory: GpuMemory, utilization: f64, context: usize) -> Result<u64> {
        let in_use = memory.total - memory.free;
        let allowed = ((memory.total as f64 * utilization) as u64).saturating_sub(in_use);
        let pages = self.pages_in(self.room(Bound::Gpu(memory, utilization)));
        if pages >= self.least_pages {
            return Ok(pages);
        }
        let least = self.page * self.least_pages;
        let [needed, weights, workspace, cache, allowed, total, in_use] =
            [self.weights + self.workspace + least, self.weights, self.workspace, least, allowed, memory.total, in_use]
                .map(size);
        Err(Error::new(Category::Device, "The model does not fit into the GPU memory that it may use")
            .details(format_args!(
                "needed {needed} (weights {weights}, working memory {workspace}, keys and values of {context} tokens \
                 {cache}), allowed {allowed} ({utilization} of {total}, less {in_use} in use)"
            ))
            .hint(
                "raise --gpu-memory-utilization, lower --context, --max-sequences or --prefix-cache-bytes, end other programs on this GPU, or \
                 take another with --device",
            ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    /// 8 GB of weights, 1 GB beside them, pages of 8 MB: a context of 4096 tokens takes half a GB, and there are 16.
    fn sizes() -> Sizes {
        Sizes { weights: 8 * GB, workspace: GB, page: 8_000_000, most_pages: 1 + 16 * 64, least_pages: 65 }
    }

    fn on_gpu(total: u64, in_use: u64, utilization: f64) -> Result<u64> {
        sizes().pages_on_gpu(GpuMemory { free: (total - in_use) * GB, total: total * GB }, utilization, 4096)
    }

    #[test]
    fn what_is_left_beside_the_weights_becomes_pages() {
        assert_eq!(on_gpu(80, 0, 0.9).unwrap(), 1025, "all that sixteen sequences may need, and no more");
        assert_eq!(on_gpu(20, 0, 0.5).unwrap(), 125, "1 GB of 10");
        assert_eq!(on_gpu(20, 2, 0.75).unwrap(), 500, "4 GB of 15 - 2");
        assert_eq!(on_gpu(10, 0, 1.0).unwrap(), 125);
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused_with_figures() {
        let error = on_gpu(20, 1, 0.5).unwrap_err().to_string();
        let needed = "needed 9.5 GB (weights 8.0 GB, working memory 1.0 GB, keys and values of 4096 tokens 520.0 MB)";
        assert!(error.contains(needed), "{error}");
        assert!(error.contains("allowed 9.0 GB (0.5 of 20.0 GB, less 1.0 GB in use)"), "{error}");
        assert!(on_gpu(8, 0, 1.0).is_err() && on_gpu(80, 79, 0.9).is_err());
    }

    #[test]
    fn snapshots_leave_room_for_one_context() {
        let slot = 100_000_000;
        for (total, count) in [(80, 8), (20, 1), (19, 0), (18, 0)] {
            let memory = GpuMemory { free: total * GB / 2, total: total * GB / 2 };
            let snapshots = sizes().snapshots(Bound::Gpu(memory, 1.0), slot);
            assert_eq!(snapshots.min(8), count, "{total}");
            let beside = Sizes { workspace: GB + snapshots * slot, ..sizes() };
            let held = sizes().pages_on_gpu(memory, 1.0, 4096).is_ok();
            assert_eq!(beside.pages_on_gpu(memory, 1.0, 4096).is_ok(), held, "{total}");
        }
    }

    #[test]
    fn a_cache_holds_one_context_at_least() {
        let sizes = sizes();
        assert_eq!(sizes.pages_in(GB), 125);
        assert_eq!(sizes.pages_in(u64::MAX), 1025);
        assert_eq!(Sizes { page: 0, ..sizes }.pages_in(GB), 1025, "a model without attention needs no bytes for pages");
    }
}
