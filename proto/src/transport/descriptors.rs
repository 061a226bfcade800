//! How many connections the operating system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept free: for segments of the log, artifacts, reads of `/proc`, the link to the other service, and connections
/// that are being closed while others have come.
const KEPT_FREE: u64 = 40;

/// Fewer would be no service.
const FEWEST_CONNECTIONS: u64 = 8;

/// Raises the soft limit of descriptors to the hard one, and says how many connections fit below it beside what is open now.
///
/// Soft limits are low only for the sake of programs that use `select`, which we do not.
pub fn connections_within_descriptors() -> usize {
    let limits = getrlimit(Resource::Nofile);
    if limits.current != limits.maximum {
        // Refused, for instance in a sandbox: the limit stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // Elsewhere than on Linux there is no such folder; then a process of ours has few open.
    let open = std::fs::read_dir("/proc/self/fd").map_or(32, |files| files.count() as u64);
    usize::try_from(limit.saturating_sub(open + KEPT_FREE).max(FEWEST_CONNECTIONS)).unwrap_or(usize::MAX)
}
