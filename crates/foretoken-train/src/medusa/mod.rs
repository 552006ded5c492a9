//! Medusa heads beside a model (Cai et al. 2024, <https://arxiv.org/abs/2401.10774>).
//!
//! Head `k`, from 0, reads the hidden state of row `t` and learns the token behind row `t + 1 + k`, where that row is of
//! the same document and its target counts. [`MedusaParameters`] are the heads and [`MedusaObjective`] what they
//! learn; [`Medusa1`] trains them on a model that stays as it is, [`Medusa2`] with the model. How trees are decoded is not known here, but
//! what the best one would yield is measured on held-out text.

mod frozen;
mod joint;
mod loss;
mod parameters;
mod passes;

pub use frozen::Medusa1;
pub use joint::{JointExport, JointOptions, Kept, Medusa2, Ramp};
pub use loss::{HeadLabels, MedusaObjective};
pub use parameters::{HeadExport, HeadLayout, MedusaParameters, OutputMatrices};
