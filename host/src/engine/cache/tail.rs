//! How much of a tail another sequence can go on from.

/// How many tokens of `tail` a sequence can go on behind whose tokens there are `rest`; none where the tail is of no use to it.
///
/// Keys and values are there for each token, and a state goes back to any token of its chunk, which is a page. But a tail has
/// one owner: who needs little of it leaves it to its conversation.
pub fn usable(tail: &[u32], rest: &[u32]) -> Option<usize> {
    let common = tail.iter().zip(rest).take_while(|(a, b)| a == b).count();
    (common * 2 >= tail.len() && (common > 0 || tail.is_empty())).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_goes_to_who_needs_most_of_it() {
        for (length, common, taken) in
            [(8, 8, true), (8, 4, true), (8, 3, false), (1, 0, false), (1, 1, true), (0, 0, true)]
        {
            let rest: Vec<u32> = (0..common as u32).chain([900, 901]).collect();
            let tail: Vec<u32> = (0..length).collect();
            assert_eq!(usable(&tail, &rest), taken.then_some(common), "{common} of {length}");
        }
    }
}
