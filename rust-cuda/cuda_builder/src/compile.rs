//! Compiles the kernels that need it, each by itself, and joins all of them to one text.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::kernels::{self, Kernel};
use crate::ptx::Module;
use crate::rustc::Rustc;
use crate::{Error, Header};

/// PTX from before: what its header says of it, and its parts.
pub(crate) struct Known {
    pub(crate) header: Header,
    module: Module,
}

impl Known {
    /// The PTX in a file; none where there is none.
    pub(crate) fn read(path: &Path) -> Option<Known> {
        let header = Header::read(path)?;
        Some(Known { header, module: Module::parse(&fs::read_to_string(path).ok()?).ok()? })
    }
}

/// Kernels on their way to one text.
pub(crate) struct Compilation<'a> {
    pub(crate) rustc: Rustc<'a>,
    pub(crate) kernels: &'a [Kernel],
    /// PTX by the same compiler, of these sources or others.
    pub(crate) known: Vec<Known>,
}

impl Compilation<'_> {
    /// The text of all kernels. Where told to reuse what is known, only those are compiled that are not in it.
    pub(crate) fn text(&self, reuse: bool) -> Result<String, Error> {
        let mut joined = Module::default();
        let mut missing = Vec::new();
        for kernel in self.kernels {
            let same = |known: &&Known| reuse && known.header.kernels.get(&kernel.name) == Some(&kernel.hash);
            match self.known.iter().find(same) {
                Some(known) => joined.join(known.module.only(|entry| self.is_of(kernel, entry)))?,
                None => missing.push(kernel),
            }
        }
        for module in self.compile(missing)? {
            joined.join(module)?;
        }
        Ok(joined.text())
    }

    /// Compiles some of the kernels, as many at a time as there are cores, those with the longest PTX first.
    fn compile(&self, mut missing: Vec<&Kernel>) -> Result<Vec<Module>, Error> {
        let size =
            |kernel: &Kernel| self.known.first().map(|known| known.module.len(|entry| self.is_of(kernel, entry)));
        missing.sort_by_cached_key(|kernel| size(kernel));
        let threads = thread::available_parallelism().map_or(1, usize::from).min(missing.len());
        let (queue, results) = (Mutex::new(missing), Mutex::new(Vec::new()));
        let work = || {
            // The queue is free again before the kernel is compiled.
            let next = || lock(&queue).pop();
            while let Some(kernel) = next() {
                let result = self.compile_one(kernel);
                if result.is_err() {
                    lock(&queue).clear();
                }
                lock(&results).push(result);
            }
        };
        thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
    }

    fn compile_one(&self, kernel: &Kernel) -> Result<Module, Error> {
        let out: Vec<&str> =
            self.names().filter(|name| *name != kernel.name && !kernel.needs.contains(*name)).collect();
        let elsewhere: Vec<&str> = match self.known.first() {
            Some(known) => known.module.names().filter(|entry| !self.is_of(kernel, entry)).collect(),
            None => Vec::new(),
        };
        let text = self.rustc.compile(kernel, &out, &elsewhere)?;
        let module = Module::parse(&text)
            .map_err(|function| Error::Function { krate: self.rustc.krate.to_owned(), function })?;
        let stranger = module.names().find(|entry| kernels::owner(self.kernels, entry).is_none());
        match stranger {
            Some(entry) => Err(Error::Entry { entry: entry.to_owned() }),
            None => Ok(module.only(|entry| self.is_of(kernel, entry))),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.kernels.iter().map(|kernel| kernel.name.as_str())
    }

    fn is_of(&self, kernel: &Kernel, entry: &str) -> bool {
        kernels::owner(self.kernels, entry).is_some_and(|owner| owner.name == kernel.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hashes of kernels as a header has them.
pub(crate) fn hashes(kernels: &[Kernel]) -> BTreeMap<String, String> {
    kernels.iter().map(|kernel| (kernel.name.clone(), kernel.hash.clone())).collect()
}
