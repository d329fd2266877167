//! `PagePool`: which KV pages are free.

/// Pages of the KV cache, the scrap page excepted.
#[derive(Debug)]
pub struct PagePool {
    free: Vec<usize>,
}

impl PagePool {
    /// All of `pages` pages but page 0, the scrap page.
    pub fn new(pages: usize) -> PagePool {
        PagePool { free: (1..pages).rev().collect() }
    }

    /// `count` pages, or none when there are not so many.
    pub fn take(&mut self, count: usize) -> Option<Vec<usize>> {
        let keep = self.free.len().checked_sub(count)?;
        Some(self.free.split_off(keep))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.free.len()
    }

    /// The free pages.
    #[cfg(test)]
    pub fn free(&self) -> &[usize] {
        &self.free
    }

    /// Gives pages back.
    pub fn put(&mut self, pages: Vec<usize>) {
        self.free.extend(pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_and_the_scrap_page_never_goes_out() {
        let mut pool = PagePool::new(4);
        let taken = pool.take(3).expect("three pages are free");
        assert!(!taken.contains(&0));
        assert_eq!(pool.take(1), None);
        pool.put(taken);
        assert_eq!(pool.take(3).map(|pages| pages.len()), Some(3));
    }
}
