//! The worker binary.

use std::process::ExitCode;

/// Gives memory back after a burst of long prompts or unread replies; glibc's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if let Some(code) = eoscast_model::text::isolate_chat_templates() {
        return code;
    }
    eoscast_cli::main::<eoscast_worker::cli::Cli>(option_env!("EOSCAST_COMMIT"))
}
