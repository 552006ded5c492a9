//! Where each run of a few tokens stands in a prediction.

use foretoken_core::TokenId;

/// The places behind every run of `N` tokens, as indices of the token after the run: sorted by run, then by
/// place. Four bytes per token, whatever the text repeats.
pub(super) struct Grams<const N: usize> {
    places: Vec<u32>,
}

/// The `N` tokens before a place.
fn run<const N: usize>(text: &[TokenId], place: usize) -> Option<&[TokenId; N]> {
    text.get(..place)?.last_chunk()
}

impl<const N: usize> Grams<N> {
    /// Sorts the places of a text.
    pub(super) fn new(text: &[TokenId]) -> Self {
        let mut places: Vec<u32> = (N..=text.len()).map(|place| place as u32).collect();
        places.sort_unstable_by_key(|&place| (run::<N>(text, place as usize), place));
        Self { places }
    }

    /// Up to `side` places on either side of `around`, in order, behind the run at which `end` ends. With
    /// fewer places, some behind the next run in the order may be among them.
    pub(super) fn near(
        &self,
        text: &[TokenId],
        end: &[TokenId],
        around: usize,
        side: usize,
    ) -> impl Iterator<Item = usize> + use<'_, N> {
        let sought = (run::<N>(end, end.len()), around);
        let key = |place: u32| (run::<N>(text, place as usize), place as usize);
        let middle = self.places.partition_point(|&place| key(place) < sought);
        let range = middle.saturating_sub(side)..self.places.len().min(middle + side);
        self.places[range].iter().map(|&place| place as usize)
    }
}
