//! Reference of `moe_route`.
use std::cmp::Ordering;

use gpu_kernels::MoeRoute;

use super::parallel::for_each;
use super::rms_norm;
use super::sum::sum;
use crate::device::{Activation, Memory, Reference};

impl Reference for MoeRoute {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, hidden, experts) = (self.rows as usize, self.hidden as usize, self.experts as usize);
        let x = normed::<A>(self, memory);
        let w = memory.read::<f32>(self.w, experts * hidden);
        let w: &[f32] = &w;
        let bias = memory.read::<f32>(self.bias, experts);
        let bias: &[f32] = &bias;
        let top_k = self.top_k as usize;
        let mut logits = memory.write::<f32>(self.logits, rows * experts);
        let mut ids = memory.write::<i32>(self.ids, rows * top_k);
        let mut shares = memory.write::<f32>(self.weights, rows * top_k);
        let outputs = logits.chunks_mut(experts).zip(ids.chunks_mut(top_k)).zip(shares.chunks_mut(top_k));
        let items = x.chunks(hidden).zip(outputs).collect();
        for_each(rows * hidden * experts, items, |(x, ((logits, ids), shares))| {
            for (logit, w) in logits.iter_mut().zip(w.chunks(hidden)) {
                *logit = sum(x.iter().zip(w).map(|(x, w)| x.to_f32() * w));
            }
            choose(self, logits, bias, ids, shares);
        });
    }
}

/// The rows that meet the router's weights.
fn normed<A: Activation>(route: &MoeRoute, memory: &Memory) -> Vec<A> {
    let x = memory.read::<A>(route.x, (route.rows * route.hidden) as usize).to_vec();
    if route.norm_weight.is_null() {
        return x;
    }
    let mut normed = memory.write::<A>(route.normed, x.len());
    rms_norm::normalise(&x, memory.weight(route.norm_weight).row(0), (route.eps, route.roundings), &mut normed);
    normed.to_vec()
}

fn choose(route: &MoeRoute, logits: &[f32], bias: &[f32], ids: &mut [i32], shares: &mut [f32]) {
    let scores: Vec<f32> = logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
    let mut choice: Vec<f32> = scores.iter().zip(bias).map(|(score, bias)| score + bias).collect();
    if route.groups > 1 {
        let size = choice.len() / route.groups as usize;
        let best_two = |group: &[f32]| best(group, 2).iter().map(|&index| group[index]).sum::<f32>();
        let groups: Vec<f32> = choice.chunks(size).map(best_two).collect();
        let kept = best(&groups, route.top_groups as usize);
        for (_, scores) in choice.chunks_mut(size).enumerate().filter(|(group, _)| !kept.contains(group)) {
            scores.fill(f32::NEG_INFINITY);
        }
    }
    let chosen = best(&choice, ids.len());
    let total = if route.normalize == 0 { 1.0 } else { chosen.iter().map(|&id| scores[id]).sum::<f32>() + 1e-20 };
    for ((id, share), chosen) in ids.iter_mut().zip(shares).zip(chosen) {
        *id = chosen as i32;
        *share = route.scale * (scores[chosen] / total);
    }
}

/// Where the `count` largest values stand, the largest first; of equal ones the first.
fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // What is no number is chosen last.
    let key = |index: usize| if values[index].is_nan() { f32::NEG_INFINITY } else { values[index] };
    order.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal));
    order.truncate(count);
    order
}
