//! Topologies: preorder trees of new rows.

use super::rng::Rng;

/// A tree in preorder, as [`Span`](crate::Span) describes it.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) depth: Vec<u32>,
    pub(super) subtree_end: Vec<u32>,
}

/// The forms of random trees.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// One path.
    Chain,
    /// Mostly deep, with side branches.
    Vine,
    /// Mostly wide.
    Bush,
    /// Every node below the root.
    Star,
}

impl Tree {
    pub(super) fn chain(nodes: usize) -> Self {
        Self::from_depths((0..nodes as u32).collect())
    }

    pub(super) fn random(rng: &mut Rng, nodes: usize, form: Form) -> Self {
        let mut depth = vec![0u32];
        while depth.len() < nodes {
            let last = depth[depth.len() - 1];
            // A node hangs on the newest one, or on a random ancestor of it or it.
            let parent = match form {
                Form::Chain => last,
                Form::Star => 0,
                Form::Vine if rng.below(8) > 0 => last,
                Form::Bush if rng.below(3) == 0 => last,
                Form::Vine | Form::Bush => rng.below(last as usize + 1) as u32,
            };
            depth.push(parent + 1);
        }
        Self::from_depths(depth)
    }

    pub(super) fn from_depths(depth: Vec<u32>) -> Self {
        let end = |node: usize| {
            let later = depth[node + 1..].iter().take_while(|&&d| d > depth[node]).count();
            (node + 1 + later) as u32
        };
        let subtree_end = (0..depth.len()).map(end).collect();
        Self { depth, subtree_end }
    }

    pub(super) fn len(&self) -> usize {
        self.depth.len()
    }

    /// The nodes without children.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&node| self.subtree_end[node] as usize == node + 1)
    }

    /// The nodes from the root to `node`, both included.
    pub(super) fn path(&self, node: usize) -> Vec<usize> {
        (0..=node).filter(|&other| self.subtree_end[other] as usize > node).collect()
    }
}
