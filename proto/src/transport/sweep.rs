//! Ends connections that wait too long, or hold too much, and responses that nobody reads.

use std::sync::Arc;

use tokio::time::MissedTickBehavior;

use super::connection::Connection;
use super::counts::Ending;
use super::registry::Registry;

/// Looks at all connections again and again, for as long as the listener lasts.
pub(super) async fn run(registry: Arc<Registry>) {
    let shared = registry.shared();
    // Not a sleep of each round: pressure, which any client can keep up, would put it off for ever.
    let mut looks = tokio::time::interval(shared.limits.sweep);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // A listener that nobody uses wakes nobody.
        registry.is_not_empty().await;
        tokio::select! {
            _ = looks.tick() => registry.all().iter().for_each(|one| one.look()),
            () = shared.pressure.notified() => shed(&registry.all(), shared.limits.held_bytes),
        }
    }
}

/// Cuts those that hold most, until the others hold no more than they may.
fn shed(connections: &[Arc<Connection>], most: usize) {
    let mut holders: Vec<_> = connections.iter().filter(|one| !one.is_cut()).map(|one| (one.held(), one)).collect();
    holders.sort_unstable_by_key(|(held, _)| *held);
    let mut together: usize = holders.iter().map(|(held, _)| held).sum();
    while together > most
        && let Some((held, connection)) = holders.pop()
    {
        connection.cut(Ending::HeldBytes);
        together -= held;
    }
}
