//! What a task may do before others get their turn.

use std::future::poll_fn;
use std::task::ready;

use tokio::task::coop::poll_proceed;

/// Takes `units` of what this task may do in one turn, and waits for its next turn once they are used up.
///
/// A turn has the 128 units of tokio's cooperative budget. tokio itself takes one for each wait for readiness and none for
/// what is here already, so a peer that keeps a buffer filled and a socket writable would hold the loop for as long as it
/// likes. Every loop that a peer can feed takes units in proportion to its work; 128 are meant to last for some 200 µs, which is
/// what four writes that wake their reader cost on a virtual machine. Whoever is out of units goes on when the loop has looked for
/// what else is ready.
pub async fn spend(units: u32) {
    let mut left = units;
    poll_fn(|context| {
        while left > 0 {
            ready!(poll_proceed(context)).made_progress();
            left -= 1;
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::spend;

    #[tokio::test]
    async fn who_spends_lets_others_go_on() {
        let local = tokio::task::LocalSet::new();
        let others = Rc::new(Cell::new(0));
        let counted = others.clone();
        local.spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        local
            .run_until(async {
                for _ in 0..4 * 10 {
                    spend(32).await;
                }
            })
            .await;
        assert!((5..=20).contains(&others.get()), "{} turns of the other task", others.get());
    }
}
