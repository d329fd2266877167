//! Special registers by name.

use crate::program::Special;

/// The special register called `name`, unless it is a clock (whose value changes).
pub fn parse(name: &str) -> Option<Special> {
    let (stem, axis) = match name.split_once('.') {
        None => (name, None),
        Some((stem, axis)) => (stem, Some(["x", "y", "z"].iter().position(|a| *a == axis)?)),
    };
    Some(match (stem, axis) {
        ("%tid", Some(axis)) => Special::Thread(axis),
        ("%ntid", Some(axis)) => Special::BlockDim(axis),
        ("%ctaid", Some(axis)) => Special::Block(axis),
        ("%nctaid", Some(axis)) => Special::GridDim(axis),
        ("%laneid", None) => Special::Lane,
        ("%warpid", None) => Special::Warp,
        ("%nwarpid", None) => Special::WarpCount,
        ("%lanemask_eq", None) => Special::MaskEq,
        ("%lanemask_le", None) => Special::MaskLe,
        ("%lanemask_lt", None) => Special::MaskLt,
        ("%lanemask_ge", None) => Special::MaskGe,
        ("%lanemask_gt", None) => Special::MaskGt,
        ("%dynamic_smem_size", None) => Special::DynamicSharedSize,
        ("%total_smem_size", None) => Special::TotalSharedSize,
        ("WARP_SZ", None) => Special::WarpSize,
        ("%nsmid", None) => Special::One,
        ("%smid" | "%gridid", None) => Special::Zero,
        // Clusters lie along x.
        ("%cluster_ctarank", None) | ("%cluster_ctaid", Some(0)) => Special::ClusterRank,
        ("%cluster_nctarank", None) | ("%cluster_nctaid", Some(0)) => Special::ClusterSize,
        ("%cluster_ctaid", Some(_)) => Special::Zero,
        ("%cluster_nctaid", Some(_)) => Special::One,
        ("%clusterid", Some(axis)) => Special::Cluster(axis),
        ("%nclusterid", Some(axis)) => Special::ClusterCount(axis),
        _ => return None,
    })
}

/// Whether `name` counts time.
pub fn is_clock(name: &str) -> bool {
    matches!(name, "%clock" | "%clock64" | "%clock_hi" | "%globaltimer" | "%globaltimer_lo" | "%globaltimer_hi")
}
