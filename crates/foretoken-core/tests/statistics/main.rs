//! The sampler through its public interface: its filters against a plain reference, its law and its
//! independence by statistics, draws that must never change, and what a row costs.

mod golden;
mod law;
mod reference;
mod speed;
