//! `health`.

use clap::Args;

use crate::rpc::SERVICE_NAME;

/// Ask a predictor whether it serves: exit code 0 if it does. For containers without curl.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Address of the predictor's gRPC service.
    #[arg(long, value_name = "HOST:PORT", env = "EOSCAST_PREDICTOR_LISTEN", default_value = "127.0.0.1:50052")]
    address: String,
}

impl HealthArgs {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        eoscast_cli::health::run(&self.address, SERVICE_NAME)
    }
}
