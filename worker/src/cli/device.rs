//! `--device`: where a model runs.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use candle_core::Device;

use eoscast_model::TensorError;

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeviceArg {
    Cpu,
    /// Number of an NVIDIA GPU, from 0.
    Cuda(usize),
}

impl fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = || text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "cpu" => Ok(Self::Cpu),
            _ => number().map(Self::Cuda).ok_or_else(|| "must be cpu or cuda:N, e.g. cuda:0".to_owned()),
        }
    }
}

impl DeviceArg {
    /// Makes the device ready.
    pub(super) fn open(self) -> anyhow::Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(_) if !cfg!(feature = "cuda") => bail!(
                "--device {self}: this worker was built for CPUs only; build one for GPUs with \
                 `cargo build --release -p eoscast-worker --features cuda`"
            ),
            Self::Cuda(number) => Device::new_cuda(number).map_err(TensorError::from).with_context(|| {
                format!("--device {self}: no such GPU can be used (`nvidia-smi` lists those there are)")
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_they_are_printed() {
        for device in [DeviceArg::Cpu, DeviceArg::Cuda(0), DeviceArg::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(text.parse::<DeviceArg>().unwrap_err().contains("cuda:0"), "{text}");
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert!(DeviceArg::Cpu.open().unwrap().is_cpu());
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_one_with_it() {
        let error = DeviceArg::Cuda(0).open().unwrap_err().to_string();
        assert!(error.contains("--device cuda:0") && error.contains("--features cuda"), "{error}");
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_that_is_not_there_is_named() {
        let error = format!("{:#}", DeviceArg::Cuda(4096).open().unwrap_err());
        assert!(error.contains("--device cuda:4096") && error.contains("nvidia-smi"), "{error}");
    }
}
