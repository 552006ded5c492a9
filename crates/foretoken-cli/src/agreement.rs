//! Whether drafting left a text alone.

use foretoken::TokenId;

use crate::error::Error;

/// Compares the tokens of a drafted text with those of plain decoding.
pub(crate) fn check(plain: &[TokenId], drafted: &[TokenId]) -> Result<(), Error> {
    if plain == drafted {
        return Ok(());
    }
    let same = plain.iter().zip(drafted).take_while(|(a, b)| a == b).count();
    let cause =
        format!("drafting changed the text at token {same}; that is a bug, please report it");
    Err(Error::failure(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found_at_its_place() {
        assert!(check(&[5, 6, 7], &[5, 6, 7]).is_ok());
        for (drafted, place) in [(&[5, 6, 8][..], 2), (&[5, 6], 2), (&[5, 6, 7, 8], 3), (&[6], 0)] {
            let Err(Error::Failure(message)) = check(&[5, 6, 7], drafted) else {
                panic!("{drafted:?} is another text")
            };
            assert!(message.starts_with(&format!("drafting changed the text at token {place};")));
        }
    }
}
