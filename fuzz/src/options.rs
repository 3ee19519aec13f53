//! Options of the codec, chosen by one byte.

use outrider::config::{HeaderKeyFormat, Http1, UnderscoresAction};

pub struct Chosen {
    pub options: Http1,
    /// A spare bit for what is no option: the method of the request, or the size of reads.
    pub spare: bool,
}

pub fn choose(byte: u8) -> Chosen {
    let bit = |number: u8| byte >> number & 1 == 1;
    let options = Http1 {
        header_key_format: match byte & 3 {
            0 | 1 => HeaderKeyFormat::PreserveCase,
            2 => HeaderKeyFormat::ProperCaseWords,
            _ => HeaderKeyFormat::LowerCase,
        },
        // Few of the 256 choices are other than the default in more than one place.
        enable_trailers: !bit(2),
        allow_chunked_length: bit(3),
        send_fully_qualified_url: bit(4),
        ignore_http_11_upgrade: bit(6) && bit(2),
        via_in_requests: !(bit(6) && bit(3)),
        headers_with_underscores_action: if bit(6) && bit(4) { UnderscoresAction::DropHeader } else { UnderscoresAction::Allow },
        forward_reason_phrase: !(bit(6) && bit(4)),
        ..Http1::default()
    };
    Chosen { options, spare: bit(7) }
}
