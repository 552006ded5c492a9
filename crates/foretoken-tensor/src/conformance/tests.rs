use super::*;
use crate::Reference;

#[test]
fn operators() {
    check_operators(&Reference, Thoroughness::Quick);
}
#[test]
fn linear() {
    check_linear(&Reference, Thoroughness::Quick);
}
#[test]
fn attention() {
    check_attention(&Reference, Thoroughness::Quick);
}
#[test]
fn packing() {
    check_packing(&Reference, Thoroughness::Quick);
}
#[test]
fn programs() {
    check_programs(&Reference, Thoroughness::Quick);
}
#[test]
fn invariance() {
    check_invariance(&Reference, Thoroughness::Quick);
}
