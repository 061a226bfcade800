//! CPU kernels, each beside its plain twin. The only place where `unsafe` is allowed.
