//! Tokens drawn at random from a text: stand-ins for guesses where nothing better is known.

use foretoken_core::TokenId;

/// A sequence of draws that is the same each time it begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Scatter {
    drawn: u64,
}

impl Scatter {
    /// A token of `text`; token 0 of an empty one.
    pub(super) fn draw(&mut self, text: &[TokenId]) -> TokenId {
        self.drawn += 1;
        // SplitMix64 (Steele, Lea and Flood 2014).
        let mut mixed = self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let index = mixed % text.len().max(1) as u64;
        text.get(index as usize).copied().unwrap_or_default()
    }
}
