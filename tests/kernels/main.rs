//! Every kernel over awkward shapes: the references against f64, and the PTX against the references.
//!
//! `for_each_kernel!` names the modules: a kernel without a file of rows here does not compile.
mod approx;
mod attention;
mod attn_clusters;
mod attn_codes;
mod cached;
mod chunks;
mod compare;
mod data;
mod distribution;
mod emulator;
mod meeting;
mod mutants;
mod norm_bits;
mod oracle;
mod packed;
mod paged;
mod random;
mod ranks;
mod route_rows;
mod skinny_clusters;
mod ssm;
mod ssm_splits;
mod target;

macro_rules! kernels {
    ($($file:ident $kernel:ident,)*) => { $(mod $file;)* mod suite { $(mod $file {
        use gpu_kernels::$kernel;

        #[test]
        fn tolerance_is_the_doc_blocks() {
            let source = include_str!(concat!("../../gpu-kernels/src/", stringify!($file), ".rs"));
            crate::compare::tolerance::<$kernel>(source);
        }

        #[test]
        fn references_agree_with_f64() {
            crate::compare::references::<$kernel>(crate::$file::rows());
        }

        #[test]
        fn ptx_agrees_with_the_reference() {
            crate::compare::emulator::<$kernel>(crate::$file::rows());
        }

        #[test]
        fn mutants_are_noticed() {
            crate::mutants::every_one_is_noticed::<$kernel>(crate::$file::rows());
        }
    })* } };
}
gpu_kernels::for_each_kernel!(kernels);
