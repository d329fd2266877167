//! What may be wrong with a quantized weight, in words.
use std::fmt::{Debug, Display};

use super::Module;
use crate::checkpoint::StoredTensor;
use crate::error::{Category, Error};

/// A kind of file that is not read.
pub fn unsupported(details: impl Display) -> Error {
    Error::new(Category::Model, "This kind of quantized weight is not supported").details(details).hint(
        "supported are FP8, INT8, INT4 and NVFP4 of ModelOpt, compressed-tensors, GPTQ and AWQ: take such a checkpoint, \
         or one in BF16",
    )
}

/// A tensor that must stand beside a quantized weight does not.
pub fn incomplete(module: &Module, suffix: &str) -> Error {
    let name = format!("{}{suffix}", module.name);
    let place = match module.checkpoint.absent(&name) {
        Some(shard) => format!("expected in {}, as model.safetensors.index.json says", shard.display()),
        None => format!("found no such tensor in {}", module.checkpoint.directory().display()),
    };
    Error::new(Category::Model, "A quantized weight is incomplete")
        .details(format_args!("{name}: {place}"))
        .hint("download the index and all shards again, from one revision")
}

/// Scales beside a weight of plain numbers.
pub fn scaled_plain(module: &Module, weight: &StoredTensor, suffix: &str) -> Error {
    Error::new(Category::Model, "Weight and scales contradict each other")
        .details(format_args!(
            "{}: {name}.weight is {}, so {name}{suffix} beside it has nothing to scale",
            weight.file.display(),
            weight.dtype,
            name = module.name
        ))
        .hint("the file was put together from two checkpoints, or converted in part: download it again, or convert all of it")
}

/// A tensor of another shape than it must have.
pub fn wrong_shape(module: &Module, suffix: &str, found: &StoredTensor, expected: impl Display) -> Error {
    let [rows, columns] = module.shape;
    Error::new(Category::Model, "Tensor has the wrong shape")
        .details(format_args!(
            "{}: {}{suffix}: expected {expected} for a weight of [{rows}, {columns}], found {} {:?}",
            found.file.display(),
            module.name,
            found.dtype,
            found.shape
        ))
        .hint("config.json and weights do not belong together: download both from one revision")
}

/// A tensor of another type than it must have.
pub fn wrong_type(module: &Module, suffix: &str, found: &StoredTensor, expected: impl Display) -> Error {
    Error::new(Category::Model, "Tensor has an unsupported type")
        .details(format_args!(
            "{}: {}{suffix}: expected {expected}, found {}",
            found.file.display(),
            module.name,
            found.dtype
        ))
        .hint("the file was written wrongly or by a tool that is not known: download it again")
}

/// A number of columns that share a scale which no format has.
pub fn wrong_group(module: &Module, groups: usize, what: impl Display) -> Error {
    Error::new(Category::Model, "Columns cannot be divided into the groups of this weight")
        .details(format_args!("{}: {} columns in {groups} groups; {what}", module.name, module.shape[1]))
        .hint("quantize the model again with a group size that divides its widths, such as 32, 64 or 128")
}

/// A number that must be finite and is not.
pub fn not_finite(tensor: &StoredTensor, name: impl Display, at: impl Debug, found: f32) -> Error {
    Error::new(Category::Model, "A scale is not a number")
        .details(format_args!("{}: {name}: at {at:?}: found {found}", tensor.file.display()))
        .hint("the file is damaged, or its model was quantized wrongly: download it again")
}

/// An e4m3 code that is no number.
pub fn nan_code(tensor: &StoredTensor, name: impl Display) -> Error {
    Error::new(Category::Model, "A weight is not a number")
        .details(format_args!("{}: {name}: an element is NaN", tensor.file.display()))
        .hint("the file is damaged, or its model was quantized wrongly: download it again")
}

/// An index of a group that is not there.
pub fn wrong_index(module: &Module, column: usize, group: i32, groups: usize) -> Error {
    Error::new(Category::Model, "A column belongs to a group that is not there")
        .details(format_args!(
            "{}.g_idx: column {column}: expected a group of 0 to {}, found {group}",
            module.name,
            groups - 1
        ))
        .hint("the file is damaged, or was quantized wrongly: download it again")
}

/// An element that no code stands for.
pub fn no_number(name: &str, at: [usize; 2], found: f32) -> Error {
    Error::new(Category::Model, "A weight is not a number")
        .details(format_args!("{name}: at {at:?}: found {found}, which no code stands for"))
        .hint("the file is damaged, or its training went wrong: download it again")
}
