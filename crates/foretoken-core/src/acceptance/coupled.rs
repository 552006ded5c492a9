//! The walk: draw at the row, descend while the draft agrees.
//!
//! The token of a position is drawn as plain decoding draws it, by the same noise. The draft only
//! decides how many of these tokens one pass yields, so any draft is lossless.

use super::{Accepted, Step};
use crate::Sampler;

pub(super) fn verify(step: &Step<'_>, sampler: &mut Sampler, out: &mut Accepted) {
    let mut node = 0;
    loop {
        let drawn = sampler.draw(step.rows.row(node), &out.tokens, step.position_after(node));
        let agreeing = drawn.ok().and_then(|token| step.tree.child_with_token(node, token));
        match (drawn, agreeing) {
            (Ok(token), Some(child)) => {
                out.descend(child, token);
                node = child;
            }
            _ => return out.finish(drawn),
        }
    }
}
