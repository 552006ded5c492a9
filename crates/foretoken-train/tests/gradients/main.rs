//! Every operator's gradient against central differences in f64.
//!
//! Each operator has a twin here that computes its forward pass in f64, term by term as in its definition. The
//! operator's output must be the twin's, and its gradients those that differences of the twin give for a random
//! linear function of the output.

mod attention;
mod check;
mod joint;
mod losses;
mod medusa;
mod operators;
