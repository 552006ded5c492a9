//! The sampler through its public interface: its filters against a plain reference, its draws from
//! large rows against every score, its law and its independence by statistics, and draws that must
//! never change.

mod exact;
mod golden;
mod law;
mod reference;
