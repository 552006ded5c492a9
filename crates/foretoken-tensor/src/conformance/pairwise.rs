//! Choosing cases: the full product of some axes, in which the values of further axes meet each
//! other and those of the product pair by pair.

/// Cases over axes of the given sizes, each a value's index per axis. The first `full` axes occur in
/// every combination, once each; the others take the values whose pairs with the rest of the case
/// are rarest so far. Where a product is large enough for every pair to occur, nearly always all do.
pub(super) fn pairwise<const N: usize>(sizes: [usize; N], full: usize) -> Vec<[usize; N]> {
    let combinations: usize = sizes[..full].iter().product();
    let mut cases: Vec<[usize; N]> = Vec::with_capacity(combinations);
    for combination in 0..combinations {
        let mut case = [0; N];
        let mut rest = combination;
        for axis in 0..full {
            (case[axis], rest) = (rest % sizes[axis], rest / sizes[axis]);
        }
        for axis in full..N {
            // How often each value met what this case holds so far.
            let mut met = vec![vec![0; axis]; sizes[axis]];
            for earlier in &cases {
                for other in 0..axis {
                    met[earlier[axis]][other] += usize::from(earlier[other] == case[other]);
                }
            }
            let rarity = |value: &usize| {
                let met = &met[*value];
                let seen = met.iter().filter(|&&times| times > 0).count();
                (seen, met.iter().sum::<usize>())
            };
            case[axis] = (0..sizes[axis]).min_by_key(rarity).expect("an axis has a value");
        }
        cases.push(case);
    }
    cases
}
