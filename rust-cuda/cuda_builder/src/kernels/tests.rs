//! Which kernels a crate has, and which files reach which.
use super::*;

const FILES: [(&str, &str); 7] = [
    ("lib.rs", "for_each!(gemv Gemv, moe_gemv MoeGemv, rms_norm RmsNorm, widen Widen)"),
    ("gemv.rs", "mod entry;"),
    ("gemv/entry.rs", "use crate::row; // not widen\nkernel! { pub fn gemv() { RmsNorm } }"),
    ("moe_gemv.rs", "use crate::gemv; kernel! { pub fn moe_gemv() {} }"),
    ("rms_norm.rs", "kernel! { pub fn rms_norm() {} }"),
    ("widen.rs", "kernel! { pub fn widen() {} }"),
    ("row.rs", "pub fn at() {}"),
];

fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let help = Source { own: false, name: "row.rs".to_owned(), bytes: b"// another crate's".to_vec() };
    let own =
        files.iter().map(|(name, text)| Source { own: true, name: (*name).to_owned(), bytes: text.as_bytes().into() });
    own.chain([help]).collect()
}

fn kernels(files: &[(&str, &str)]) -> Vec<Kernel> {
    find(&sources(files), Arch::ALL[0])
}

/// The kernels whose hash another text of the file changes.
fn reached(file: &str) -> Vec<String> {
    let changed = FILES.map(|(name, text)| (name, if name == file { format!("{text}\n") } else { text.to_owned() }));
    let changed: Vec<_> = changed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let pairs = kernels(&FILES).into_iter().zip(kernels(&changed));
    pairs.filter(|(before, after)| before.hash != after.hash).map(|(before, _)| before.name).collect()
}

#[test]
fn a_kernel_needs_what_its_code_names_directly_or_not() {
    let needs: Vec<_> = kernels(&FILES).into_iter().map(|kernel| (kernel.name, Vec::from_iter(kernel.needs))).collect();
    let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wanted: [(&str, &[&str]); 4] =
        [("gemv", &["rms_norm"]), ("moe_gemv", &["gemv", "rms_norm"]), ("rms_norm", &[]), ("widen", &[])];
    assert_eq!(needs, wanted.map(|(name, needs)| (name.to_owned(), text(needs))));
}

#[test]
fn an_edit_reaches_the_kernels_that_need_the_file() {
    assert_eq!(reached("widen.rs"), ["widen"]);
    assert_eq!(reached("moe_gemv.rs"), ["moe_gemv"]);
    assert_eq!(reached("gemv/entry.rs"), ["gemv", "moe_gemv"]);
    assert_eq!(reached("rms_norm.rs"), ["gemv", "moe_gemv", "rms_norm"]);
    for shared in ["row.rs", "lib.rs"] {
        assert_eq!(reached(shared), ["gemv", "moe_gemv", "rms_norm", "widen"], "{shared}");
    }
}

#[test]
fn a_kernel_that_a_shared_file_names_is_needed_by_all() {
    let mut files = FILES;
    files[6].1 = "use crate::widen;";
    assert!(kernels(&files).iter().all(|kernel| kernel.name == "widen" || kernel.needs.contains("widen")));
}

#[test]
fn files_of_other_crates_reach_every_kernel() {
    let mut changed = sources(&FILES);
    changed.last_mut().unwrap().bytes.push(b'x');
    let pairs = kernels(&FILES).into_iter().zip(find(&changed, Arch::ALL[0]));
    assert!(pairs.into_iter().all(|(before, after)| before.hash != after.hash));
}

#[test]
fn a_crate_with_its_kernels_in_the_root_is_one() {
    let all = kernels(&[("lib.rs", "kernel! { pub fn a() {} pub fn b() {} }"), ("row.rs", "")]);
    assert_eq!(all.len(), 1);
    assert_eq!(owner(&all, "b"), Some(&all[0]));
}

#[test]
fn an_entry_point_belongs_to_the_longest_name_that_it_begins_with() {
    let name = |name: &str| Kernel { name: name.to_owned(), needs: BTreeSet::new(), hash: String::new() };
    let all = ["sample", "sample_limit"].map(name);
    for (entry, wanted) in
        [("sample", Some("sample")), ("sample_limit", Some("sample_limit")), ("sampler", None), ("x", None)]
    {
        assert_eq!(owner(&all, entry).map(|kernel| kernel.name.as_str()), wanted, "{entry}");
    }
    assert_eq!(owner(&all, "sample_limit_low").unwrap().name, "sample_limit");
    assert_eq!(owner(&all, "sample_low").unwrap().name, "sample");
}
