//! `health`: whether the worker serves.

use clap::Args;

use crate::rpc::SERVICE_NAME;

/// Options of `health`.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Address of the worker's gRPC service.
    #[arg(long, env = "EOSCAST_LISTEN", default_value = "127.0.0.1:50051", value_name = "HOST:PORT")]
    address: String,
}

/// Prints one line if it serves.
pub(super) fn run(args: &HealthArgs) -> anyhow::Result<()> {
    eoscast_cli::health::run(&args.address, SERVICE_NAME)
}
