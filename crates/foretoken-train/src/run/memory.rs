//! Whether training fits in memory, before it starts.

use super::error::RunError;

/// Bytes of a parameter: its value, its gradient and two moments.
const PARAMETER: usize = 16;

/// Compares what training needs with what the system says is available; where it says nothing, all is well.
///
/// `others` are the bytes of all else, such as [`LlamaShape::step_bytes`](crate::LlamaShape::step_bytes) and
/// [`Corpus::memory`](crate::data::Corpus::memory) tell.
///
/// # Errors
/// If there is less, with the numbers.
pub fn check_memory(parameters: usize, others: usize) -> Result<(), RunError> {
    let needed = parameters.saturating_mul(PARAMETER).saturating_add(others);
    match foretoken_cpu::available_memory() {
        Some(available) if available < needed => {
            Err(RunError::Memory { parameters, needed, available })
        }
        _ => Ok(()),
    }
}
