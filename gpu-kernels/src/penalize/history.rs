//! The tokens of a row's sequence, and what they change of its logits: penalties, and n-grams that may not come again.
use crate::sampling;
use cuda_std::{barrier, global, thread};

/// The count of a token whose logit a thread has changed.
const TAKEN: u32 = u32::MAX;
/// A count from here on is that of a forbidden token; no text is as long.
const FORBIDDEN: u32 = 1 << 31;

/// The tokens of a sequence, a word for each id of the vocabulary, and its row of logits.
pub struct History {
    /// Address of the ids.
    pub ids: u64,
    /// How many there are.
    pub length: u32,
    /// Address of the words.
    pub counts: u64,
    /// Address of the row.
    pub logits: u64,
}

impl History {
    /// The token at `position`.
    ///
    /// # Safety
    /// `position` is below `length`, and `ids` the address of so many ids.
    #[inline(always)]
    pub unsafe fn token(&self, position: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { global::load(self.ids + 4 * u64::from(position)) }
    }

    /// Adds `value` to the logit of `id`.
    ///
    /// # Safety
    /// `id` is below the vocabulary; no other thread changes its logit before the next barrier.
    #[inline(always)]
    pub unsafe fn add(&self, id: u32, value: f32) {
        let at = self.logits + 4 * u64::from(id);
        // SAFETY: the caller's promise.
        unsafe { global::store(at, global::load::<f32>(at) + value) };
    }

    /// Calls `visit` with the address of the count, the id and the position of each of this thread's tokens.
    ///
    /// # Safety
    /// `ids` is the address of `length` written ids.
    #[inline(always)]
    unsafe fn for_each(&self, mut visit: impl FnMut(u64, u32, u32)) {
        let mut position = thread::thread_idx_x();
        while position < self.length {
            // SAFETY: the position is within the history.
            let id = unsafe { self.token(position) };
            visit(self.counts + 4 * u64::from(id), id, position);
            position += thread::block_dim_x();
        }
    }

    /// Counts how often each token was generated; a token of the prompt alone has count 0. A token with which an n-gram of
    /// `ngram` tokens would come again, if that is not 0, has a count from [`FORBIDDEN`] on.
    ///
    /// # Safety
    /// All threads of the block call it together; `counts` has a word for each id.
    #[inline(always)]
    pub unsafe fn count(&self, prompt_length: u32, ngram: u32) {
        // SAFETY: every count that is added to was cleared before the barrier; between two barriers all threads store
        // the same value or use atomics. Positions are within the history.
        unsafe {
            self.for_each(|count, _, _| global::store(count, 0_u32));
            barrier::sync_threads();
            self.for_each(|count, _, position| {
                if ngram > 0 && position + 1 >= ngram && self.is_end(position + 1 - ngram, ngram - 1) {
                    global::atomic_exchange_relaxed(count, FORBIDDEN);
                } else if position >= prompt_length {
                    global::atomic_add_relaxed(count, 1);
                }
            });
            barrier::sync_threads();
        }
    }

    /// Forbids or else penalizes each token, once.
    ///
    /// # Safety
    /// Behind [`History::count`]; `parameters` is the address of the row's.
    #[inline(always)]
    pub unsafe fn change(&self, parameters: u64, penalizes: bool) {
        // SAFETY: one thread alone finds a count that is not taken, so the logit is its own.
        unsafe {
            let float = |index: u32| global::load::<f32>(parameters + u64::from(4 * index));
            let repeat = float(sampling::REPEAT_PENALTY);
            let presence = float(sampling::PRESENCE_PENALTY);
            let frequency = float(sampling::FREQUENCY_PENALTY);
            self.for_each(|count, id, _| {
                let count = global::atomic_exchange_relaxed(count, TAKEN);
                if count == TAKEN {
                    return;
                }
                if count >= FORBIDDEN {
                    self.add(id, f32::NEG_INFINITY);
                } else if penalizes {
                    let at = self.logits + 4 * u64::from(id);
                    let x: f32 = global::load(at);
                    let x = if x > 0.0 { x / repeat } else { x * repeat };
                    let x = x - count as f32 * frequency;
                    global::store(at, if count > 0 { x - presence } else { x });
                }
            });
        }
    }

    /// Whether the `count` tokens from position `start` on are those at the end.
    ///
    /// # Safety
    /// `start + count` is at most `length`.
    #[inline(always)]
    unsafe fn is_end(&self, start: u32, count: u32) -> bool {
        let mut i = 0;
        // SAFETY: the caller's promise.
        while i < count && unsafe { self.token(start + i) == self.token(self.length - count + i) } {
            i += 1;
        }
        i == count
    }
}
