//! A toy block kind, as docs/add-a-block.md adds it: laid out, planned and run on the CPU beside plain arithmetic.
use gpu_kernels::{DeviceInfo, Element, Gemv, MoeGemv, MoeQuantGemv, MoeRoute, QuantGemv, Relu2, moe_route};
use half::bf16;

use super::{Kind, PlacedBlock};
use crate::cpu::Cpu;
use crate::device::{BufferId, Device, Format, Output, Step};
use crate::forward::builder::{Builder, NormBuffers};
use crate::forward::pass::Pass;
use crate::forward::product_buffers::ProductBuffer;
use crate::forward::products::Multiply;
use crate::forward::{Bucket, Layout, Limits, Span, StepInputs, plan};
use crate::models;
use crate::models::spec::{ModelSpec, Norm, Product, Tensor};
use crate::quantized::Recipe;
use crate::synthetic::{Preset, RandomWeights};

/// `x + relu2(norm(x)) · wᵀ`.
struct Squared {
    norm: Norm,
    product: Product,
    /// A vector in f32, and what a sequence keeps in its slot: neither is read, both are laid out.
    exact: Tensor,
    slot: usize,
}

struct PlacedSquared {
    norm: NormBuffers,
    product: ProductBuffer,
    squared: BufferId,
}

impl Kind for Squared {
    fn lay_out(&self, builder: &mut Builder) -> Box<dyn PlacedBlock> {
        let elements = builder.limits.rows * self.product.columns();
        builder.tensor(&self.exact);
        builder.slots("kept", Element::F32, self.slot, false);
        Box::new(PlacedSquared {
            norm: builder.norm(&self.norm),
            product: builder.product("squared", &self.product),
            squared: builder.scratch("squared", Element::Act, elements),
        })
    }
}

impl PlacedBlock for PlacedSquared {
    fn steps(&self, pass: &mut Pass) {
        let (x, rows) = (pass.shared.x.ptr(), pass.rows());
        let (normed, y) = (pass.norm(&self.norm, x, rows), self.squared.ptr());
        pass.plan.launch(Relu2 { x: normed, y, count: rows * self.product.k as u32 });
        pass.multiply(Multiply { residual: x, ..Multiply::new(y, &self.product, Output::Act(x), rows) });
    }

    fn copy_slots(&self, _: &mut Pass) {}
}

fn normed(row: &[f64]) -> Vec<f64> {
    let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    row.iter().map(|x| x / (mean + 1e-5).sqrt()).collect()
}

/// `w · x` for each row of `w`.
fn times(w: &crate::device::Weight, x: &[f64]) -> Vec<f64> {
    let dot = |row: &[bf16]| row.iter().zip(x).map(|(w, x)| w.to_f64() * x).sum();
    (0..w.rows()).map(|row| dot(w.row(row))).collect()
}

#[test]
fn a_new_kind_is_its_own_file() {
    let mut spec = models::read(&Preset::tiny()[1].config(Some(1)), None).expect("a known family");
    let hidden = spec.hidden;
    let ones = |name: &str| Norm::Rms { weight: Tensor::vector(name, hidden), eps: 1e-5, rounds_once: false };
    spec.final_norm = ones("final");
    let square = |name: &str| Squared {
        norm: ones(name),
        product: Product::of(Tensor::matrix(format!("{name}.product"), hidden, hidden)),
        exact: Tensor::vector(format!("{name}.exact"), 24).exact(),
        slot: 5,
    };
    let kinds = [square("a"), square("b")];
    let limits = Limits::new(64, 3, 64);
    let (layout, memory) = Layout::of(&spec, kinds.iter().map(|kind| kind as &dyn Kind), limits);

    // Sizes from the description alone.
    let sizes = memory.sizes(4);
    let (vectors, squares, tables) = (3 * hidden, 2 * hidden * hidden, 2 * spec.vocab * hidden);
    let weights = Format::Bf16.bytes(1, (vectors + squares + tables) as u64) + Format::F32.bytes(1, 2 * 24);
    assert_eq!((sizes.weights, sizes.kv), (weights, 0));
    assert_eq!(sizes.slots, (4 * 2 * 5 * 3 + 4 * 64 * (3 + 1)) as u64, "two blocks' slots, and the history");

    // One token through the plan.
    let random = RandomWeights::own(&spec);
    let parts = |tensors: &[Tensor]| match tensors {
        [tensor] if tensor.shape.len() == 1 && tensor.format != Format::F32 => {
            let data = bytes::Bytes::from_owner(crate::checkpoint::Elements(vec![bf16::ONE; hidden]));
            crate::device::Weight::new(vec![crate::device::WeightPart::new(data, hidden, 0..1, 0..hidden)])
        }
        _ => random.parts(tensors),
    };
    let mut device = Cpu::<f32>::new();
    device.allocate(memory.load(&|tensors| Ok(parts(tensors))).expect("random weights")).expect("memory for them");
    let span = Span { ids: vec![7], pages: vec![1], logit_rows: 1, samples: true, ..Span::default() };
    let bucket = Bucket::of(std::slice::from_ref(&span), &limits);
    let prepared = device.prepare(plan(&layout, &bucket)).expect("a plan that fits");
    let inputs = StepInputs::new(&[span], &bucket, &limits);
    layout.with_inputs(&inputs, |inputs| device.run(prepared, inputs)).expect("a run");
    let found = device.read_f32(layout.logits(), spec.vocab).expect("the logits");

    // The same in plain f64.
    let mut x: Vec<f64> = parts(std::slice::from_ref(&spec.embedding)).row(7).iter().map(|w| w.to_f64()).collect();
    for kind in &kinds {
        let squared: Vec<f64> = normed(&x).iter().map(|x| x.max(0.0).powi(2)).collect();
        x.iter_mut().zip(times(&parts(&kind.product.parts), &squared)).for_each(|(x, y)| *x += y);
    }
    let wanted = times(&parts(&spec.head.parts), &normed(&x));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((f64::from(*found) - wanted).abs() < 1e-5, "{found} {wanted}");
    }
}

/// The logits of twelve tokens through `spec`, whose packed weights are widened `panel` elements at a time.
fn logits(spec: &ModelSpec, panel: usize) -> Vec<u32> {
    logits_within(spec, Limits { panel, small_weight: 0, ..Limits::new(64, 1, 64) }, 12)
}

/// The last twelve logits of `tokens` tokens.
fn logits_within(spec: &ModelSpec, limits: Limits, tokens: usize) -> Vec<u32> {
    let (layout, memory) = Layout::new(spec, limits);
    let random = RandomWeights::own(spec);
    let mut device = Cpu::<f32>::new();
    device
        .allocate(memory.load(&|tensors| Ok(random.parts(tensors))).expect("random weights"))
        .expect("memory for them");
    let ids = (0..tokens).map(|i| 7 * (i as i32 % 12) + 3).collect();
    let pages = (1..=tokens.div_ceil(64)).collect();
    let span = Span { ids, pages, logit_rows: 12, samples: true, ..Span::default() };
    let bucket = Bucket::of(std::slice::from_ref(&span), &limits);
    let prepared = device.prepare(plan(&layout, &bucket)).expect("a plan that fits");
    let inputs = StepInputs::new(&[span], &bucket, &limits);
    layout.with_inputs(&inputs, |inputs| device.run(prepared, inputs)).expect("a run");
    let logits = device.read_f32(layout.logits(), 12 * spec.vocab).expect("the logits");
    logits.into_iter().map(f32::to_bits).collect()
}

/// Gates, residuals, experts and the head, widened whole, or a few rows at a time: the same bits, and not those of bf16.
#[test]
fn panels_of_a_packed_weight_make_no_difference() {
    let experts = include_str!("../../../../tests/golden/nemotron_h_moe/config.json");
    let experts = serde_json::from_str(experts).expect("a config.json");
    for config in Preset::tiny().iter().map(|preset| preset.config(Some(2))).chain([experts]) {
        let plain = models::read(&config, None).expect("a known family");
        for recipe in [Recipe::Fp8, Recipe::Int8, Recipe::Nvfp4] {
            let mut spec = plain.clone();
            assert!(models::quantize(&mut spec, recipe, true).matrices > 0);
            let whole = logits(&spec, usize::MAX);
            assert_ne!(whole, logits(&plain, usize::MAX), "{recipe}");
            for panel in [1, 40 * spec.hidden] {
                assert!(logits(&spec, panel) == whole, "{recipe} with panels of {panel}");
            }
            // More rows than `quant_gemm` takes, by the matrix library and without one.
            let many = |gemms, panel| {
                let limits = Limits { gemms, panel, small_weight: 0, ..Limits::new(128, 1, 128) };
                logits_within(&spec, limits, 66)
            };
            let whole = many(true, usize::MAX);
            for panel in [usize::MAX, 1, 40 * spec.hidden] {
                assert!(many(false, panel) == whole, "{recipe} with panels of {panel} and no library");
            }
        }
    }
}

#[test]
fn many_rows_go_to_what_is_fastest() {
    let mini = Preset::named("nemotron-mini-4b").expect("a preset");
    let spec = models::read(&mini.config(Some(1)), None).expect("a known family");
    let counts_of = |rows: usize, limits| {
        let bucket = Bucket::decode(rows, 1);
        let plan = plan(&Layout::new(&spec, limits).0, &bucket);
        for step in &plan.steps {
            if let Step::Launch(kernel) = step {
                assert_eq!(kernel.check(), Ok(()), "{}", step.name());
            }
        }
        ["skinny_gemm", "skinny_join", "gemm", "dense_gemm"]
            .map(|name| plan.steps.iter().filter(|step| step.name() == name).count())
    };
    let counts = |rows, skinny_rows| counts_of(rows, Limits { skinny_rows, ..Limits::new(128, rows, rows) });
    // qkv, o and down have so few tiles that blocks share their columns; up and the head have many.
    assert_eq!(counts(32, 64), [5, 3, 0, 0]);
    assert_eq!(counts(64, 64), [4, 2, 1, 0], "o is small");
    assert_eq!(counts(128, 64), [0, 0, 5, 0]);
    assert_eq!(counts(32, 0), [0, 0, 5, 0], "where there is no such device");
    let alone =
        |rows, skinny_rows| counts_of(rows, Limits { skinny_rows, gemms: false, ..Limits::new(128, rows, rows) });
    for skinny_rows in [0, 64] {
        assert_eq!(alone(64, skinny_rows), [5, 3, 0, 0], "no library is faster");
        assert_eq!(
            alone(128, skinny_rows),
            [8, 6, 0, 1],
            "all but the head have few rows, and are multiplied in parts"
        );
        assert_eq!(alone(640, skinny_rows), [0, 0, 0, 5]);
    }
}

/// One row is normalised by the products and routers that read it, but by those of ranks, of rows that are too long, and of weights
/// that want another input; more rows by norms of their own.
#[test]
fn a_lone_row_is_normalised_where_it_is_read() {
    let counts = |spec: &ModelSpec, rows: usize| {
        let steps = plan(&Layout::new(spec, Limits::new(128, rows, rows)).0, &Bucket::decode(rows, 1)).steps;
        for step in &steps {
            if let Step::Launch(kernel) = step {
                assert_eq!(kernel.check(), Ok(()), "{}", step.name());
            }
        }
        ["rms_norm", "gated_norm"].map(|name| steps.iter().filter(|step| step.name() == name).count())
    };
    let experts = include_str!("../../../../tests/golden/nemotron_h_moe/config.json");
    let experts = models::read(&serde_json::from_str(experts).expect("a config.json"), None).expect("a known family");
    let mixers = experts.blocks.iter().filter(|block| format!("{block:?}").starts_with("Mamba2")).count();
    assert!(mixers > 0);
    let norms = experts.blocks.len() + 1;
    for recipe in [None, Some(Recipe::Fp8), Some(Recipe::Nvfp4)] {
        let mut spec = experts.clone();
        recipe.map(|recipe| models::quantize(&mut spec, recipe, true));
        assert_eq!(counts(&spec, 1), [0, 0], "{recipe:?}");
        assert_eq!(counts(&spec, 2), [norms, mixers], "{recipe:?}");
        // Behind the mixers' last products the ranks meet.
        let (share, _) = spec.shard(2).expect("it divides");
        assert_eq!(counts(&share, 1), [0, mixers], "{recipe:?}, two ranks");
    }
    // Mixers of 7 680 columns.
    let long = Preset::named("3-nano-4b").expect("a preset").config(Some(1));
    let long = models::read(&long, None).expect("a known family");
    assert_eq!(counts(&long, 1), [0, 1]);
}

#[test]
fn many_rows_of_fp8_weights_are_multiplied_in_parts_as_panels_or_in_fp8() {
    let mini = Preset::named("nemotron-mini-4b").expect("a preset");
    let mut spec = models::read(&mini.config(Some(1)), None).expect("a known family");
    models::quantize(&mut spec, Recipe::Fp8, false);
    let counts = |spec: &ModelSpec, rows: usize| {
        let bucket = Bucket { logit_rows: 1, ..Bucket::decode(rows, 1) };
        let plan = plan(&Layout::new(spec, Limits { skinny_rows: 64, ..Limits::new(256, rows, rows) }).0, &bucket);
        ["quant_gemm", "quantize_rows", "widen", "gemm"]
            .map(|name| plan.steps.iter().filter(|step| step.name() == name).count())
    };
    assert_eq!(counts(&spec, 64), [4, 0, 0, 0]);
    assert_eq!(counts(&spec, 128), [8, 0, 0, 0], "in two parts");
    assert_eq!(counts(&spec, 129), [0, 0, 4, 4]);
    assert_eq!(models::quantize_inputs(&mut spec), 4);
    assert_eq!(counts(&spec, 64), [4, 0, 0, 0], "few rows stay as they are");
    assert_eq!(counts(&spec, 65), [0, 4, 0, 4]);
}

/// Whether kernels behind `step` start only when all in front of the step has ended: those that overlap with nothing in front, and two
/// that let the next ones start behind their wait.
fn holds_next(step: &Step) -> bool {
    const HOPPER: DeviceInfo = DeviceInfo {
        compute_capability: (9, 0),
        multiprocessors: 132,
        shared_bytes_per_block: 227 << 10,
        clusters: true,
    };
    let Step::Launch(kernel) = step else { return matches!(step, Step::Gemm(_)) };
    let routes = kernel.as_any().downcast_ref::<MoeRoute>().is_some_and(|route| route.rows <= moe_route::ROWS);
    let chooses = few_experts(step).is_some_and(|experts| experts.ids_settled == 0);
    routes || chooses || !kernel.launch(&HOPPER).overlaps
}

fn few_experts(step: &Step) -> Option<MoeGemv> {
    let Step::Launch(kernel) = step else { return None };
    let of_codes = kernel.as_any().downcast_ref::<MoeQuantGemv>().map(MoeQuantGemv::around);
    kernel.as_any().downcast_ref::<MoeGemv>().copied().or(of_codes)
}

/// What a step reads, or writes, beside the kernel in front of it: the buffers of its settled inputs and of its result.
fn used_early(step: &Step) -> Vec<u32> {
    let Step::Launch(kernel) = step else { return Vec::new() };
    let of_codes = kernel.as_any().downcast_ref::<QuantGemv>().map(QuantGemv::around);
    let product = kernel.as_any().downcast_ref::<Gemv>().copied().or(of_codes).filter(|it| it.x_settled != 0);
    let ids = few_experts(step).filter(|it| it.ids_settled != 0).map(|it| it.ids.target());
    let product = product.into_iter().flat_map(|it| [it.x.target(), it.y.target()]);
    product.chain(ids).flatten().map(|(buffer, _)| buffer).collect()
}

/// What a step that holds the next ones reads, as they may.
fn read_by_holder(step: &Step) -> Option<u32> {
    let Step::Launch(kernel) = step else { return None };
    let route = kernel.as_any().downcast_ref::<MoeRoute>().and_then(|route| route.x.target());
    route.or(few_experts(step).and_then(|experts| experts.ids.target())).map(|(buffer, _)| buffer)
}

/// All buffers of a launch.
fn buffers(step: &Step) -> Vec<u32> {
    let Step::Launch(kernel) = step else { return Vec::new() };
    let mut buffers = Vec::new();
    kernel.args(&mut |buffer, _, _| {
        buffers.push(buffer);
        0
    });
    buffers
}

/// What is read before the kernel in front has ended must be older than one that held all behind it back; and what is written so
/// early, nobody may use any more. Between that one and the reader others may read the same rows.
#[test]
fn what_runs_beside_the_kernel_in_front_reads_what_is_older() {
    let configs = [
        include_str!("../../../../tests/golden/nemotron_h_moe/config.json"),
        include_str!("../../../../tests/golden/nemotron_h_latent/config.json"),
    ];
    for config in configs.map(|config| serde_json::from_str(config).expect("a config.json")) {
        let plain = models::read(&config, None).expect("a known family");
        for (recipe, rows) in [None, Some(Recipe::Fp8), Some(Recipe::Nvfp4)]
            .into_iter()
            .flat_map(|it| [1, 8, 9, 64, 65, 72].map(|rows| (it, rows)))
        {
            let (mut spec, _) = plain.shard(if recipe.is_none() { 2 } else { 1 }).expect("it divides");
            recipe.map(|recipe| models::quantize(&mut spec, recipe, true));
            let limits = Limits { small_weight: 0, skinny_rows: 64, gemms: rows != 72, ..Limits::new(128, rows, rows) };
            let steps = plan(&Layout::new(&spec, limits).0, &Bucket::decode(rows, 1)).steps;
            let early: Vec<_> = (0..steps.len()).filter(|i| !used_early(&steps[*i]).is_empty()).collect();
            for &reader in &early {
                let held = steps[..reader].iter().rposition(holds_next).expect("one that holds the next ones");
                let named = used_early(&steps[reader]);
                // Others may read the same rows so early.
                let used_by = |step: &Step| {
                    let shared = used_early(step).first().copied().filter(|it| *it == named[0]);
                    buffers(step).into_iter().filter(move |it| Some(*it) != shared)
                };
                let between = &steps[held + 1..reader];
                assert!(between.iter().all(|step| matches!(step, Step::Launch(_))), "{between:?}");
                let used: Vec<_> = between.iter().flat_map(used_by).collect();
                assert!(named.iter().all(|it| !used.contains(it)), "{recipe:?}, {rows} rows: {reader} of {steps:?}");
                let of_held = buffers(&steps[held]);
                let is_free = |it: &u32| !of_held.contains(it) || read_by_holder(&steps[held]) == Some(*it);
                assert!(named.iter().all(is_free), "{recipe:?}, {rows} rows: {reader} behind {:?}", steps[held]);
            }
            let layers = steps.iter().filter(|step| step.name() == "moe_route").count();
            let products = 2 + usize::from(config["moe_latent_size"].is_u64());
            let settled = if rows <= 8 { layers * (1 + products) } else { layers };
            assert_eq!(early.len(), settled, "{recipe:?}, {rows} rows");
        }
    }
}
