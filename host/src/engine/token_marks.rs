//! `TokenMarks`: texts found among tokens, however these cut them.
use std::collections::HashMap;

/// Texts, and the bytes of the tokens that may write a part of one, or a part of a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMarks {
    marks: Vec<Vec<u8>>,
    pieces: HashMap<u32, Vec<u8>>,
}

impl TokenMarks {
    /// A search for `marks`; tokens that are not among `pieces` write nothing of them.
    pub fn new(marks: Vec<Vec<u8>>, pieces: HashMap<u32, Vec<u8>>) -> TokenMarks {
        TokenMarks { marks, pieces }
    }

    /// Bytes of the longest mark.
    pub fn longest(&self) -> usize {
        self.marks.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Takes a token behind `tail`, the last bytes in front of it, and brings that on. Whether the text ends inside a character of
    /// UTF-8 then: its first byte says how many it has.
    pub fn follow_character(&self, tail: &mut Vec<u8>, token: u32) -> bool {
        match self.pieces.get(&token) {
            Some(piece) => tail.extend_from_slice(piece),
            None => tail.clear(),
        }
        tail.drain(..tail.len().saturating_sub(3));
        let first = tail.iter().rposition(|byte| byte & 0xc0 != 0x80);
        first.is_some_and(|first| tail[first].leading_ones() as usize > tail.len() - first)
    }

    /// Takes a token behind `begun`, the bytes in front of it that may begin a mark, and brings that on. Whether a mark is whole.
    pub fn follow(&self, begun: &mut Vec<u8>, token: u32) -> bool {
        let Some(piece) = self.pieces.get(&token) else {
            begun.clear();
            return false;
        };
        begun.extend_from_slice(piece);
        if self.marks.iter().any(|mark| begun.windows(mark.len()).any(|bytes| bytes == mark)) {
            begun.clear();
            return true;
        }
        let begins = |at: &usize| self.marks.iter().any(|mark| mark.starts_with(&begun[*at..]));
        let start = (0..begun.len()).find(begins).unwrap_or(begun.len());
        begun.drain(..start);
        false
    }

    /// The tokens that bring `begun`, the bytes so far, nearer to a mark.
    pub fn continuations(&self, begun: &[u8]) -> impl Iterator<Item = u32> {
        let continues = |piece: &[u8]| {
            let text = [begun.trim_ascii_start(), piece].concat();
            self.marks.iter().any(|mark| mark.starts_with(&text) || text.starts_with(mark))
        };
        self.pieces.iter().filter(move |(_, piece)| !piece.is_empty() && continues(piece)).map(|(id, _)| *id)
    }

    /// The tokens that would make a mark whole behind `begun`, but for the first mark.
    pub fn other_ends(&self, begun: &[u8]) -> impl Iterator<Item = u32> {
        let ends = move |piece: &[u8]| {
            let text = [begun, piece].concat();
            self.marks[1..].iter().any(|mark| text.windows(mark.len()).any(|bytes| bytes == mark))
        };
        let one = self.marks.len() < 2;
        self.pieces.iter().filter(move |(_, piece)| !one && ends(piece)).map(|(id, _)| *id)
    }

    /// The tokens of white space alone that may stand in front of a mark.
    pub fn spaces(&self) -> impl Iterator<Item = u32> {
        self.pieces.iter().filter(|(_, piece)| piece.trim_ascii().is_empty()).map(|(id, _)| *id)
    }

    /// Whether a mark begins a text of which `seen` are the bytes so far, white space in front of it left out: nothing where a
    /// later token decides it. `seen` never grows longer than a mark and a token.
    pub fn begins(&self, seen: &mut Vec<u8>, token: u32) -> Option<bool> {
        let piece = self.pieces.get(&token);
        seen.extend_from_slice(piece.map_or(b"x", Vec::as_slice));
        seen.drain(..seen.len() - seen.trim_ascii_start().len());
        match () {
            () if self.marks.iter().any(|mark| seen.starts_with(mark)) => Some(true),
            () if self.marks.iter().any(|mark| mark.starts_with(seen)) => None,
            () => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(of: &[&str]) -> TokenMarks {
        let pieces = ["</", "think", ">", ">\n\n", "<", "a</think> b", "/", " \n"];
        let pieces = (0..).zip(pieces).map(|(id, piece)| (id, piece.as_bytes().to_vec())).collect();
        TokenMarks::new(of.iter().map(|mark| mark.as_bytes().to_vec()).collect(), pieces)
    }

    #[test]
    fn a_mark_is_found_however_tokens_cut_it() {
        let marks = marks(&["</think>", "<a>"]);
        let found = |ids: &[u32]| {
            let mut begun = Vec::new();
            ids.iter().position(|id| marks.follow(&mut begun, *id))
        };
        assert_eq!(found(&[9, 0, 1, 2]), Some(3));
        assert_eq!(found(&[0, 1, 3]), Some(2));
        assert_eq!(found(&[4, 4, 6, 1, 2]), Some(4));
        assert_eq!(found(&[5]), Some(0));
        assert_eq!(found(&[0, 0, 1, 2]), Some(3));
        // A token between them parts it.
        assert_eq!(found(&[0, 9, 1, 2]), None);
        assert_eq!(found(&[0, 1, 1, 2]), None);
    }

    /// Right values: `str::from_utf8` of the bytes so far.
    #[test]
    fn a_character_is_open_until_its_last_byte() {
        let text = "a\u{e9}b\u{65e5}\u{1f98a}\u{1f98a}\u{e9}";
        for bytes in 1..5 {
            let parts: Vec<&[u8]> = text.as_bytes().chunks(bytes).collect();
            let pieces = (0..).zip(&parts).filter(|(_, part)| str::from_utf8(part).is_err());
            let marks = TokenMarks::new(vec![b"<".to_vec()], pieces.map(|(id, part)| (id, part.to_vec())).collect());
            let mut tail = Vec::new();
            for end in 1..=parts.len() {
                let open = marks.follow_character(&mut tail, end as u32 - 1);
                assert_eq!(open, str::from_utf8(&parts[..end].concat()).is_err(), "{bytes} bytes each, {end} parts");
            }
        }
    }

    #[test]
    fn a_mark_begins_a_text_or_does_not() {
        let marks = marks(&["<think>"]);
        let begins = |ids: &[u32]| {
            let mut seen = Vec::new();
            ids.iter().find_map(|id| marks.begins(&mut seen, *id))
        };
        assert_eq!(begins(&[7, 7, 4, 1, 3]), Some(true));
        assert_eq!((begins(&[7, 4, 1]), begins(&[4, 1, 1]), begins(&[9, 4, 1, 2])), (None, Some(false), Some(false)));
    }

    #[test]
    fn white_space_in_front_of_a_mark_is_looked_at_once() {
        let (marks, mut seen) = (marks(&["<think>"]), Vec::new());
        for _ in 0..1_000_000 {
            assert_eq!(marks.begins(&mut seen, 7), None);
        }
        assert!(seen.capacity() < 64, "{} bytes", seen.capacity());
        assert_eq!([4, 1, 2].map(|id| marks.begins(&mut seen, id)), [None, None, Some(true)]);
    }
}
