//! Every input of the corpora, once, without a fuzzer.

use std::fs;
use std::path::Path;

#[test]
fn the_corpora_hold() {
    replay("request_head", outrider_fuzz::request_head);
    replay("response_head", outrider_fuzz::response_head);
    replay("chunked_decoder", outrider_fuzz::chunked_decoder);
    replay("differential", outrider_fuzz::differential);
}

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let inputs = fs::read_dir(&directory).expect("a corpus for every target");
    let count = inputs.map(|input| check(&fs::read(input.expect("an entry").path()).expect("a file"))).count();
    assert!(count > 0, "no input in {}", directory.display());
}
