//! `none`: no draft, which is plain decoding.

use foretoken_core::TokenId;

use super::{Built, DraftTask, Drafter, DrafterInfo, Needs, SequenceKey, Sight};

pub(super) const INFO: DrafterInfo = DrafterInfo {
    name: "none",
    summary: "no draft: plain decoding, one token per pass",
    source: "-",
    needs: Needs::Nothing,
    sight: Sight::TEXT,
    nodes: 0,
    build: |_| Ok(Built::new(Silent, 0)),
};

struct Silent;

impl Drafter for Silent {
    fn begin(&mut self, _: SequenceKey, _: &[TokenId]) {}
    fn propose(&mut self, _: &mut [DraftTask]) {}
    fn observe(&mut self, _: &[DraftTask]) {}
    fn end(&mut self, _: SequenceKey) {}
}
