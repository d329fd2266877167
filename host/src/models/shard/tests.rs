//! Tests of `shard`: every element of a tensor is on a rank, and what cannot be cut is said.
use super::*;
use crate::models;
use crate::synthetic::Preset;

fn preset(name: &str) -> ModelSpec {
    models::read(&Preset::named(name).expect("a published name").config(None), None).expect("a known family")
}

/// How many ranks have each element of the dimension that is cut.
fn held(cut: &Cut) -> Vec<usize> {
    let dimension = if cut.dimension == CutDimension::Rows { 0 } else { cut.whole.len() - 1 };
    let mut held = vec![0; cut.whole[dimension]];
    for rank in 0..cut.ranks {
        let pieces = cut.pieces(rank).into_iter().flat_map(|(piece, _)| piece);
        pieces.for_each(|element| held[element] += 1);
    }
    held
}

#[test]
fn every_element_is_on_one_rank_or_on_as_many_as_share_a_head() {
    for name in ["nemotron-mini-4b", "nano-8b", "nano-9b-v2", "3-nano-30b-a3b", "3-super-120b-a12b"] {
        let whole = preset(name);
        for ranks in [2, 4, 8] {
            let (spec, notes) = whole.shard(ranks).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(notes.is_empty(), "{name}: {notes:?}");
            for (tensor, of) in spec.tensors().into_iter().zip(whole.tensors()) {
                assert_eq!((&tensor.name, &tensor.whole()), (&of.name, of));
                let Some(cut) = &tensor.cut else { continue };
                let held = held(cut);
                let copies = cut.segments[0].copies;
                assert!(held.iter().all(|count| *count == copies), "{name}, {ranks} ranks: {}", tensor.name);
            }
        }
    }
}

#[test]
fn heads_of_keys_and_values_stand_where_their_queries_are() {
    let whole = preset("3-nano-30b-a3b");
    let attention = |spec: &ModelSpec| {
        let found = spec.blocks.iter().find_map(|block| match block {
            Block::Attention(attention) => Some(attention.clone()),
            _ => None,
        });
        found.expect("an attention")
    };
    let (one, eight) = (attention(&whole), attention(&whole.shard(8).expect("it divides").0));
    assert_eq!((one.heads, one.kv_heads, eight.heads, eight.kv_heads), (32, 2, 4, 1));
    let cut = |part: usize, rank| eight.qkv.parts[part].cut.as_ref().expect("it is cut").pieces(rank)[0].0.clone();
    for rank in 0..8 {
        let (query, key) = (cut(0, rank).start / one.head_dim, cut(1, rank).start / one.head_dim);
        assert_eq!(query / (one.heads / one.kv_heads), key, "rank {rank}");
        assert_eq!(cut(1, rank), cut(2, rank));
    }
}

/// 1856 columns of an expert are 232 for each of eight ranks, which kernels take 16 at a time.
#[test]
fn experts_are_filled_up_with_zeros() {
    let (spec, _) = preset("3-nano-30b-a3b").shard(8).expect("it divides");
    let moe = spec.blocks.iter().find_map(|block| if let Block::Moe(moe) = block { Some(moe) } else { None });
    let moe = moe.expect("experts");
    let cut = moe.down.parts[0].cut.as_ref().expect("it is cut");
    assert_eq!((moe.intermediate, moe.up.parts[0].shape[0], cut.whole[1]), (240, 240, 1856));
    assert_eq!((cut.pieces(0), cut.pieces(7)), (vec![(0..240, 240)], vec![(1680..1856, 240)]));
}

#[test]
fn what_does_not_divide_is_refused_with_what_does() {
    let error = preset("nemotron-mini-4b").shard(7).expect_err("24 heads").to_string();
    assert!(error.contains("block 0: query heads: 24, for 7 ranks; the model goes into 1, 2, 4, 8, 24"), "{error}");
    let error = preset("nano-9b-v2").shard(16).expect_err("8 groups").to_string();
    assert!(error.contains("block 0: groups of the mixer: 8, for 16 ranks; the model goes into 1, 2, 4, 8"), "{error}");
}
