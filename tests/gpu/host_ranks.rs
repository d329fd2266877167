//! GPUs that hold a model together and meet in the host's memory, as those do that do not reach each other's.
use nemotron::device::cuda::Collectives;

use crate::Row;
use crate::chains::chains;
use crate::ranks::{Fault, bits_of_peers, ended, golden, sums_and_columns, time_sums};
use crate::several::{Several, on_several_by};

pub const ROWS: &[Row] = &[
    ("ranks: by the host, sums and columns, to the bit", || on_host(sums_and_columns)),
    ("ranks: by the host, golden logits", || on_host(golden)),
    ("ranks: by the host, the bits of peers", || on_host(bits_of_peers)),
    ("ranks: by the host, one rank late", || on_host(chains)),
    ("ranks: by the host, one that fails ends the run", || on_host(|several| ended(several, Fault::Fails))),
    ("ranks: by the host, one that does not come", || on_host(|several| ended(several, Fault::Stays))),
    ("ranks: by the host, one with another plan", || on_host(|several| ended(several, Fault::Differs))),
    ("ranks: by the host, what a sum takes", || on_host(time_sums)),
];

fn on_host(check: fn(Several) -> Result<String, String>) -> Result<String, String> {
    on_several_by(Collectives::Host, check)
}
