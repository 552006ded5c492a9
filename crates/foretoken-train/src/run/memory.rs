//! Whether training fits in memory, before it starts.

use super::error::RunError;

/// Bytes of a parameter: its value, its gradient and two moments.
const PARAMETER: usize = 16;
/// Bytes of them that nothing has been written to before the first step: all but the value.
const UNTOUCHED: usize = 12;

/// Compares what training needs with what the system says is available; where it says nothing, all is well.
///
/// `others` are the bytes of all else, such as [`LlamaShape::step_bytes`](crate::LlamaShape::step_bytes) and
/// [`Corpus::memory`](crate::data::Corpus::memory) tell.
///
/// # Errors
/// If there is less, with the numbers.
pub fn check_memory(parameters: usize, others: usize) -> Result<(), RunError> {
    check(parameters, PARAMETER, others)
}

/// As [`check_memory`], for what is still to come once the parameters have their values and the text is read.
pub(super) fn check_rest(parameters: usize, step: usize) -> Result<(), RunError> {
    check(parameters, UNTOUCHED, step)
}

fn check(parameters: usize, bytes: usize, others: usize) -> Result<(), RunError> {
    let needed = parameters.saturating_mul(bytes).saturating_add(others);
    match foretoken_cpu::available_memory() {
        Some(available) if available < needed => {
            Err(RunError::Memory { parameters, needed, available })
        }
        _ => Ok(()),
    }
}
