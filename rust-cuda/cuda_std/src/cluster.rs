//! Thread block clusters: blocks that run at the same time and send words into each other's shared memory.
//!
//! For compute capability 9.0 on, and launches that ask for clusters. In the PTX each of these instructions is a comment,
//! which `cuda_builder::promote` makes an instruction; on other chips nothing here may run.
//!
//! A [`Mailbox`] is a block's for what others send it: its owner says how many bytes will come, and waits for them. No fence
//! of the senders is needed, each of their stores counts itself where it lands.
use crate::instruction::ptx;

/// Shared bytes of a [`Mailbox`], aligned to 8: an `mbarrier`.
pub const MAILBOX_BYTES: u32 = 8;

/// Says that the entry is launched in clusters alone.
#[inline(always)]
pub fn always() {
    // SAFETY: it is no instruction.
    ptx!("//sm_90: .explicitcluster", options(nostack));
}

/// Says that this thread has come so far, and that mailboxes which it has opened may be sent to; behind
/// [`wait_for_all`] all threads of the cluster have, but for those that have ended.
#[inline(always)]
pub fn arrive() {
    // SAFETY: neither touches what Rust knows of.
    ptx!("//sm_90: fence.mbarrier_init.release.cluster;", options(nostack));
    ptx!("//sm_90: barrier.cluster.arrive.relaxed;", options(nostack));
}

/// Waits until all threads of the cluster that have not ended have [`arrive`]d.
#[inline(always)]
pub fn wait_for_all() {
    // SAFETY: it touches no memory.
    ptx!("//sm_90: barrier.cluster.wait.acquire;", options(nostack));
}

/// The address, among those of the whole cluster, that is `address` in the shared memory of block `rank`.
#[inline(always)]
pub fn address_in(rank: u32, address: u32) -> u32 {
    let mapped: u32;
    // SAFETY: arithmetic on an address.
    ptx!("//sm_90: mapa.shared::cluster.u32 {}, {}, {};", out(reg32) mapped, in(reg32) address, in(reg32) rank,
        options(nostack));
    mapped
}

/// A place of shared memory that counts the bytes which other blocks send to this one, once.
#[derive(Clone, Copy)]
pub struct Mailbox(pub u32);

impl Mailbox {
    /// Gets ready for `bytes` bytes, below 2²⁰.
    ///
    /// # Safety
    /// One thread of the block calls it, once, in front of its [`arrive`]; the mailbox's bytes are used for nothing else.
    #[inline(always)]
    pub unsafe fn open(self, bytes: u32) {
        // SAFETY: the caller's promise.
        ptx!("//sm_90: mbarrier.init.shared::cta.b64 [{}], 1;", in(reg32) self.0, options(nostack));
        ptx!("//sm_90: mbarrier.arrive.expect_tx.shared::cta.b64 _, [{}], {};", in(reg32) self.0, in(reg32) bytes,
            options(nostack));
    }

    /// Sends two words to `address`, and counts them in this mailbox; both are addresses of one block by [`address_in`].
    ///
    /// # Safety
    /// Behind [`wait_for_all`]; the 8 bytes are aligned, and nothing but what waits for the mailbox touches them.
    #[inline(always)]
    pub unsafe fn send(self, address: u32, words: [f32; 2]) {
        // SAFETY: the caller's promise.
        ptx!("//sm_90: st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [{}], {{{}, {}}}, [{}];",
            in(reg32) address, in(reg32) words[0], in(reg32) words[1], in(reg32) self.0, options(nostack));
    }

    /// Sends four words, as [`Mailbox::send`] does two.
    ///
    /// # Safety
    /// As for [`Mailbox::send`], with 16 bytes.
    #[inline(always)]
    pub unsafe fn send_4(self, address: u32, words: [f32; 4]) {
        // SAFETY: the caller's promise.
        ptx!("//sm_90: st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [{}], {{{}, {}, {}, {}}}, [{}];",
            in(reg32) address, in(reg32) words[0], in(reg32) words[1], in(reg32) words[2], in(reg32) words[3],
            in(reg32) self.0, options(nostack));
    }

    /// Waits until all bytes have come; they are then visible to this thread.
    ///
    /// # Safety
    /// The mailbox of this block, behind a barrier that follows its opening.
    #[inline(always)]
    pub unsafe fn wait(self) {
        // SAFETY: the caller's promise.
        while !unsafe { self.waits_briefly() } {}
    }

    /// Waits for a while, as long as the chip likes; whether all bytes have come.
    ///
    /// # Safety
    /// As for [`Mailbox::wait`].
    #[inline(always)]
    unsafe fn waits_briefly(self) -> bool {
        let complete: u32;
        // SAFETY: the caller's promise.
        ptx!("//sm_90: {{ .reg .pred complete; \
            mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 complete, [{}], 0; \
            selp.u32 {}, 1, 0, complete; }}", in(reg32) self.0, out(reg32) complete, options(nostack));
        complete != 0
    }
}
