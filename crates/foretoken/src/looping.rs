//! Where a text begins to repeat itself.
//!
//! Greedy text of small models ends in loops, and a loop is easy to draft: what drafting achieves there
//! says little about text that somebody would read. Measurements therefore tell the part before it apart.

use std::collections::HashMap;

use foretoken_core::TokenId;

/// Length of the runs of tokens whose repetition is a loop.
const RUN: usize = 16;
/// Occurrences of one run from which a text loops.
const OCCURRENCES: u32 = 3;

/// Tokens of a text before it loops: up to and including the third occurrence of any run of 16 tokens
/// (occurrences may overlap), or all of them where there is none.
///
/// ```
/// let counting: Vec<u32> = (0..100).collect();
/// assert_eq!(foretoken::loop_free_len(&counting), 100);
/// assert_eq!(foretoken::loop_free_len(&[7; 100]), 18);
/// ```
pub fn loop_free_len(tokens: &[TokenId]) -> usize {
    let mut watch = LoopWatch::default();
    tokens.iter().position(|&token| watch.push(token)).map_or(tokens.len(), |last| last + 1)
}

/// Finds the loop of a text while it is written.
#[derive(Default)]
pub(crate) struct LoopWatch {
    tokens: Vec<TokenId>,
    seen: HashMap<[TokenId; RUN], u32>,
}

impl LoopWatch {
    /// Adds a token; whether the text loops from here on.
    pub(crate) fn push(&mut self, token: TokenId) -> bool {
        self.tokens.push(token);
        let Some(&run) = self.tokens.last_chunk() else { return false };
        let count = self.seen.entry(run).or_default();
        *count += 1;
        *count == OCCURRENCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `times` repetitions of a line of `period` different tokens, after `before` others.
    fn text(before: u32, period: u32, times: usize) -> Vec<TokenId> {
        let line: Vec<_> = (0..period).collect();
        (1000..1000 + before).chain(line.repeat(times)).collect()
    }

    #[test]
    fn a_loop_is_found_where_a_run_occurs_for_the_third_time() {
        assert_eq!(loop_free_len(&text(5, 20, 10)), 5 + 2 * 20 + 16);
        assert_eq!(loop_free_len(&text(0, 3, 50)), 2 * 3 + 16);
    }

    #[test]
    fn text_without_a_third_occurrence_is_whole() {
        for whole in [text(0, 0, 0), text(15, 0, 0), text(300, 0, 0), text(4, 40, 2)] {
            assert_eq!(loop_free_len(&whole), whole.len());
        }
        // Lines shorter than a run repeat in ordinary text.
        let lines: Vec<_> =
            (0..20).flat_map(|n| text(0, 15, 1).into_iter().chain([500 + n])).collect();
        assert_eq!(loop_free_len(&lines), lines.len());
    }
}
