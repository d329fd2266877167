//! Phrases: what is added to the logit of a phrase's last token where the others are the end of the text.
use super::history::History;
use crate::sampling::PHRASE_WORDS;
use cuda_std::{global, thread};

/// One word of a table of phrases.
///
/// # Safety
/// `table` is the address of a table that has the word.
#[inline(always)]
unsafe fn word(table: u64, index: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { global::load(table + 4 * u64::from(index)) }
}

impl History {
    /// Adds the values of the phrases in `table` that the next token would complete.
    ///
    /// # Safety
    /// All threads of the block call it together; `table` is the address of a table, in the order of the last ids.
    #[inline(always)]
    pub unsafe fn complete_phrases(&self, table: u64) {
        // SAFETY: the table says how many phrases it has; those with one last id are one thread's, so the logit is its own.
        unsafe {
            let count = word(table, 0);
            let last = |phrase: u32| word(table, 1 + PHRASE_WORDS * phrase);
            let mut first = thread::thread_idx_x();
            while first < count {
                let id = last(first);
                if first == 0 || last(first - 1) != id {
                    let (mut phrase, mut sum, mut any) = (first, 0.0, false);
                    while phrase < count && last(phrase) == id {
                        if self.begins(table, 1 + PHRASE_WORDS * phrase) {
                            sum += f32::from_bits(word(table, 2 + PHRASE_WORDS * phrase));
                            any = true;
                        }
                        phrase += 1;
                    }
                    if any {
                        self.add(id, sum);
                    }
                }
                first += thread::block_dim_x();
            }
        }
    }

    /// Whether the text ends with all ids but the last of the phrase whose words are `entry` and those behind it.
    ///
    /// # Safety
    /// `table` is the address of a table that has the entry.
    #[inline(always)]
    unsafe fn begins(&self, table: u64, entry: u32) -> bool {
        // SAFETY: the table has the phrase's ids, and positions are within the history.
        unsafe {
            let (start, count) = (word(table, entry + 2), word(table, entry + 3));
            if count > self.length {
                return false;
            }
            let mut i = 0;
            while i < count && word(table, start + i) == self.token(self.length - count + i) {
                i += 1;
            }
            i == count
        }
    }
}
