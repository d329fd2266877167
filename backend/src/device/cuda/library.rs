//! cuBLASLt's library: where it is, opened once for the process.
use std::path::PathBuf;

use cudarc::cublaslt::sys as lt;
use libloading::Library;

use super::driver::loader_words;
use crate::error::{Category, Error, Result};

const NAMES: [&str; 2] = ["libcublasLt.so.13", "libcublasLt.so.12"];

/// Opens the library under its own name first, then where CUDA's installers put it. `cudarc` looks by name alone and
/// finds what is open already.
///
/// # Errors
/// It is nowhere.
pub fn find() -> Result<()> {
    let mut tried = Vec::new();
    for candidate in NAMES.iter().map(PathBuf::from).chain(installed()) {
        // SAFETY: initialising NVIDIA's library has no requirement but a process.
        match unsafe { Library::new(&candidate) } {
            Ok(library) => {
                std::mem::forget(library);
                break;
            }
            Err(error) => tried.push(loader_words(&error)),
        }
    }
    // SAFETY: as above.
    if unsafe { lt::is_culib_present() } {
        return Ok(());
    }
    Err(Error::new(Category::Device, "cuBLASLt was not found")
        .details(tried.join("; "))
        .hint("install CUDA's cuBLAS library, or name its folder in LD_LIBRARY_PATH"))
}

/// The library's version, for example `13.0.2`; none where [`find`] has not found it.
pub fn version() -> Option<String> {
    let version = number()?;
    Some(format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100))
}

/// The version as the library has it: 10000 times the first part, 100 times the second, and the third.
fn number() -> Option<usize> {
    // SAFETY: as in `find`.
    if !unsafe { lt::is_culib_present() } {
        return None;
    }
    // SAFETY: the function takes nothing and only returns a number.
    Some(unsafe { lt::cublasLtGetVersion() })
}

/// The first version that multiplies e4m3 with a scale for each row of both factors.
const FP8_ROWS: usize = 120_900;

/// Whether the library, which [`find`] has found, multiplies e4m3 with a scale for each row of both factors on such a GPU.
///
/// # Errors
/// It does not: it does on compute capability 9.0 alone, from cuBLAS 12.9 on.
pub fn multiplies_fp8((major, minor): (u32, u32)) -> Result<()> {
    let reason = match number() {
        _ if (major, minor) != (9, 0) => format!("expected a GPU of compute capability 9.0, found {major}.{minor}"),
        Some(version) if version >= FP8_ROWS => return Ok(()),
        _ => format!("expected cuBLAS 12.9 or later, found {}", version().unwrap_or_default()),
    };
    Err(Error::new(Category::Device, "This GPU's library does not multiply inputs in FP8")
        .details(reason)
        .hint("leave --activations fp8 out: weights in FP8 are multiplied with inputs in BF16 then"))
}

fn installed() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/local/cuda/lib64"), PathBuf::from("/opt/cuda/lib64")];
    let versions = std::fs::read_dir("/usr/local").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = versions
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda-")))
        .collect();
    versions.sort_by(|a, b| b.cmp(a));
    folders.extend(versions.iter().flat_map(|root| [root.join("lib64"), root.join("targets/x86_64-linux/lib")]));
    folders.extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"].map(PathBuf::from));
    let files = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    files.filter(|file| file.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_or_the_error_says_what_was_tried() {
        match find() {
            Ok(()) => assert!(version().is_some_and(|text| text.split('.').all(|part| part.parse::<u32>().is_ok()))),
            Err(error) => {
                assert_eq!((error.message(), version()), ("cuBLASLt was not found", None));
                assert!(NAMES.iter().all(|name| error.details_text().contains(name)));
            }
        }
    }
}
