//! Bodies of the fuzz targets: each takes any bytes and must return without panicking, in memory
//! proportional to its input. A stable test runs them over seeds and mutations.

use crate::config::UnknownKeys;

/// A GGUF header and, where it parses, its configuration.
pub fn gguf(bytes: &[u8]) {
    if let Ok(gguf) = crate::gguf::Gguf::parse(bytes) {
        for tensor in gguf.tensors() {
            assert!(tensor.range.end <= bytes.len(), "tensors lie within the file");
        }
        for unknown_keys in [UnknownKeys::Refuse, UnknownKeys::Warn] {
            let _ = crate::arch::from_gguf(&gguf, unknown_keys);
        }
    }
}

/// A safetensors header.
pub fn safetensors(bytes: &[u8]) {
    if let Ok(tensors) = crate::safetensors::parse(bytes) {
        for tensor in tensors {
            assert!(tensor.range.end <= bytes.len(), "tensors lie within the file");
        }
    }
}

/// A `config.json`, and the rotation and tensor shapes of the model it describes.
pub fn config(bytes: &[u8]) {
    let Ok(map) = crate::checkpoint::parse_object(bytes) else { return };
    for unknown_keys in [UnknownKeys::Refuse, UnknownKeys::Warn] {
        if let Ok(understood) = crate::arch::from_config(&map, unknown_keys) {
            let spec = understood.spec;
            let rotation = crate::rope::Rotation::new(&spec.rope, spec.context);
            let mut angles = vec![0.0; rotation.width()];
            rotation.fill(1, &mut angles);
            for tensor in crate::checkpoint::Tensor::all(&spec) {
                assert!(tensor.shape(&spec).iter().all(|&size| size > 0), "no size is zero");
            }
        }
    }
}
