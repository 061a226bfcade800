//! Fuzz targets of model files: a second of inputs each as tests, hours by a fuzzer (see the README).

use candle_core::quantized::GgmlDType;
use eoscast_kernels::Compute;

use super::tiny::{TinyModel, load_bytes};

/// Bytes that are no model are refused in words, and one that is loads.
fn load(bytes: &[u8]) {
    if let Err(error) = load_bytes(bytes, Compute::Quantized) {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn any_bytes_as_a_model_file() {
    bolero::check!().for_each(load);
}

#[test]
fn any_change_of_a_model_file() {
    let whole = TinyModel::new(GgmlDType::Q8_0).bytes();
    // Bytes that are set, and where the file ends: most of its header is within the first 16 KiB.
    bolero::check!().with_type::<(Vec<(u16, u8)>, Option<u16>)>().for_each(|(changes, end)| {
        let mut bytes = whole.clone();
        for (place, byte) in changes {
            bytes[usize::from(*place) % whole.len().min(16_384)] = *byte;
        }
        bytes.truncate(end.map_or(whole.len(), usize::from));
        load(&bytes);
    });
}
