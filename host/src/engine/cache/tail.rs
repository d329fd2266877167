//! How much of a tail another sequence can go on from.
use gpu_kernels::ssm;

/// Tokens at the end of a sequence with state that another may part from it at: what is kept of the inputs before, and one step
/// that a device may have run ahead.
const LOOSE_END: usize = (ssm::WINDOW - ssm::TAPS) as usize;

/// How many tokens of `tail` a sequence can go on behind whose tokens there are `rest`; none where the tail is of no use to it.
/// `seen_behind` is given where there is a state: how many tokens behind the tail it has seen, of an owner before the last.
///
/// Keys and values are there for each token, but the page of a tail has one owner: who needs little of it leaves it to its
/// conversation. A state stands at the end, from which it goes back a few tokens, and not out of its chunk, which is a page.
pub fn usable(tail: &[u32], seen_behind: Option<usize>, rest: &[u32]) -> Option<usize> {
    let common = tail.iter().zip(rest).take_while(|(a, b)| a == b).count();
    let end = tail.len();
    match seen_behind {
        Some(behind) => (common + LOOSE_END >= end + behind).then_some(common),
        None => (common > 0 && common * 2 >= end).then_some(common),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common_with(length: u32, common: usize, seen_behind: Option<usize>) -> Option<usize> {
        let rest: Vec<u32> = (0..common as u32).chain([900, 901]).collect();
        usable(&(0..length).collect::<Vec<_>>(), seen_behind, &rest)
    }

    #[test]
    fn a_state_goes_back_a_few_tokens() {
        let rows = [(8, 8, true), (8, 5, true), (8, 4, true), (8, 3, false), (3, 0, true), (5, 0, false), (0, 0, true)];
        for (length, common, taken) in rows {
            assert_eq!(common_with(length, common, Some(0)), taken.then_some(common), "{common} of {length}");
        }
        // It went back three tokens before, and nothing was computed since then.
        assert_eq!((common_with(3, 2, Some(3)), common_with(3, 1, Some(3))), (Some(2), None));
    }

    #[test]
    fn keys_and_values_go_to_who_needs_most_of_them() {
        let rows = [(8, 8, true), (8, 4, true), (8, 3, false), (1, 0, false), (1, 1, true)];
        for (length, common, taken) in rows {
            assert_eq!(common_with(length, common, None), taken.then_some(common), "{common} of {length}");
        }
    }
}
