//! Types of tensors, by the numbers that GGUF files give them (`ggml_type`).

use candle_core::quantized::GgmlDType;

/// Number, name, and how it is read, if it is.
type TensorType = (u32, &'static str, Option<GgmlDType>);

/// Every type that ggml has, or had and took out of its files.
const TYPES: &[TensorType] = &[
    (0, "F32", Some(GgmlDType::F32)),
    (1, "F16", Some(GgmlDType::F16)),
    (30, "BF16", Some(GgmlDType::BF16)),
    (2, "Q4_0", Some(GgmlDType::Q4_0)),
    (3, "Q4_1", Some(GgmlDType::Q4_1)),
    (4, "Q4_2", None),
    (5, "Q4_3", None),
    (6, "Q5_0", Some(GgmlDType::Q5_0)),
    (7, "Q5_1", Some(GgmlDType::Q5_1)),
    (8, "Q8_0", Some(GgmlDType::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", Some(GgmlDType::Q2K)),
    (11, "Q3_K", Some(GgmlDType::Q3K)),
    (12, "Q4_K", Some(GgmlDType::Q4K)),
    (13, "Q5_K", Some(GgmlDType::Q5K)),
    (14, "Q6_K", Some(GgmlDType::Q6K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", None),
    (27, "I64", None),
    (28, "F64", None),
    (29, "IQ1_M", None),
    (31, "Q4_0_4_4", None),
    (32, "Q4_0_4_8", None),
    (33, "Q4_0_8_8", None),
    (34, "TQ1_0", None),
    (35, "TQ2_0", None),
    (36, "IQ4_NL_4_4", None),
    (37, "IQ4_NL_4_8", None),
    (38, "IQ4_NL_8_8", None),
    (39, "MXFP4", None),
    (40, "NVFP4", None),
    (41, "Q1_0", None),
    (42, "Q2_0", None),
];

/// How tensors of type `number` are read. An error is the type's name, if it has one.
pub(super) fn readable(number: u32) -> Result<GgmlDType, String> {
    match TYPES.iter().find(|(known, ..)| *known == number) {
        Some((.., Some(dtype))) => Ok(*dtype),
        Some((_, name, None)) => Err((*name).to_owned()),
        None => Err(format!("type {number}")),
    }
}

/// The name of `dtype` in GGUF files.
pub(super) fn name(dtype: GgmlDType) -> &'static str {
    TYPES.iter().find(|(.., known)| *known == Some(dtype)).map_or("unknown", |(_, name, _)| name)
}

/// The names of all types that are read.
pub(super) fn supported() -> String {
    let names: Vec<_> = TYPES.iter().filter(|(.., dtype)| dtype.is_some()).map(|(_, name, _)| *name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(readable(20).unwrap_err(), "IQ4_NL");
        assert_eq!(readable(39).unwrap_err(), "MXFP4");
        assert_eq!(readable(31).unwrap_err(), "Q4_0_4_4", "taken out of the format");
        assert_eq!(readable(77).unwrap_err(), "type 77");
        assert_eq!(readable(13).map(name), Ok("Q5_K"));
        assert_eq!(supported(), "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K");
    }

    #[test]
    fn no_number_and_no_name_is_there_twice() {
        for (index, (number, name, _)) in TYPES.iter().enumerate() {
            assert!(!TYPES[..index].iter().any(|(other, text, _)| other == number || text == name), "{name}");
        }
    }
}
