use super::*;
use crate::dns::entry::Failure;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_a_sweep_does() {
    let now = Instant::now();
    let later = now + 10 * SECOND;
    let failed = |until| State { failure: Some(Failure { error: Error::Timeout, until }), ..State::default() };

    assert_eq!(step(&State::default(), false, Some(now), now), Step::Idle);
    assert_eq!(step(&State::default(), false, Some(later), now), Step::LookAgainAt(later));
    // Nobody is served by it, so nobody but a stream or the configuration has it looked up again.
    assert_eq!(step(&failed(now), true, Some(later), now), Step::LookAgainAt(later));
    assert_eq!(step(&failed(now), true, None, now), Step::Refresh);
    assert_eq!(step(&failed(now + SECOND), true, None, now), Step::LookAgainAt(now + SECOND));
}
