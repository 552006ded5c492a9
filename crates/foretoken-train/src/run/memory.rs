//! Whether training fits in memory, before it starts.

use super::error::RunError;

/// Bytes of a parameter: its value, its gradient and two moments.
const PARAMETER: usize = 16;

/// Compares what training needs with what the system says is available; where it says nothing, all is well.
///
/// `step_bytes` are those of a step, such as [`LlamaShape::step_bytes`](crate::LlamaShape::step_bytes) tells.
///
/// # Errors
/// If there is less, with the numbers.
pub fn check_memory(parameters: usize, step_bytes: usize) -> Result<(), RunError> {
    let needed = parameters.saturating_mul(PARAMETER).saturating_add(step_bytes);
    match foretoken_cpu::available_memory() {
        Some(available) if available < needed => {
            Err(RunError::Memory { parameters, needed, available })
        }
        _ => Ok(()),
    }
}
