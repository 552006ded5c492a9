//! The walk along a given text: for measuring what a draft would have been worth on it.
//!
//! No row is looked at, so what is emitted is the given text and not the target's.

use super::Accepted;
use crate::{DraftTree, TokenId};

/// Writes over `out` what a step emits whose target chooses `text`, the tokens that follow the root:
/// those that `tree` drafted, and the one after them. Where the text ends on a drafted token, the step
/// is cut.
pub fn follow(tree: &DraftTree, text: &[TokenId], out: &mut Accepted) {
    out.restart();
    let mut node = 0;
    for &token in text {
        let Some(child) = tree.child_with_token(node, token) else {
            return out.finish(Ok(token));
        };
        out.descend(child, token);
        node = child;
    }
    out.truncate(text.len());
}
