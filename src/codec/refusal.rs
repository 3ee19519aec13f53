//! Why a message was refused.

/// A message that is not passed on, because its meaning is in doubt or a limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    // The lines of a head.
    NotHttp,
    BareLineFeed,
    ControlByte,
    TooManyEmptyLines,
    InvalidRequestLine,
    InvalidStatusLine,
    UnsupportedVersion,
    HeadTooLarge,
    TargetTooLong,
    TooManyFields,
    TooManyConnectionOptions,
    InvalidFieldName,
    InvalidFieldValue,
    ObsoleteFold,
    UnderscoreInName,
    // Where a request is meant to go.
    InvalidTarget,
    UnsupportedScheme,
    Userinfo,
    Fragment,
    InvalidHost,
    InvalidPort,
    MissingPort,
    MissingHost,
    DuplicateHost,
    HostMismatch,
    // Where a message ends.
    LengthAndChunked,
    InvalidContentLength,
    ConflictingContentLength,
    UnsupportedTransferCoding,
    TransferEncodingInHttp10,
    BodyInConnect,
    InvalidChunkSize,
    InvalidChunkExtension,
    ChunkExtensionTooLong,
    InvalidChunkEnd,
    InvalidTrailer,
    ForbiddenTrailer,
    TrailersTooLarge,
    // What a proxy must not do.
    Http10NotAccepted,
    AbsoluteUrlNotAllowed,
    InvalidMaxForwards,
}

impl Refusal {
    /// Status of the local reply when a request is refused; a refused response is always a 502.
    pub fn request_status(self) -> u16 {
        match self {
            Refusal::UnsupportedVersion => 505,
            Refusal::Http10NotAccepted => 426,
            Refusal::TargetTooLong => 414,
            Refusal::HeadTooLarge | Refusal::TooManyFields | Refusal::TooManyConnectionOptions | Refusal::TrailersTooLarge => 431,
            Refusal::UnsupportedTransferCoding => 501,
            _ => 400,
        }
    }

    /// Whether only the meaning of the message is in doubt, but not where it ends.
    pub fn leaves_framing_certain(self) -> bool {
        matches!(
            self,
            Refusal::UnderscoreInName
                | Refusal::InvalidTarget
                | Refusal::UnsupportedScheme
                | Refusal::Userinfo
                | Refusal::Fragment
                | Refusal::InvalidHost
                | Refusal::InvalidPort
                | Refusal::MissingPort
                | Refusal::MissingHost
                | Refusal::DuplicateHost
                | Refusal::HostMismatch
                | Refusal::AbsoluteUrlNotAllowed
                | Refusal::InvalidMaxForwards
        )
    }

    /// Stable name, for logs and programs.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::NotHttp => "not_http",
            Refusal::BareLineFeed => "bare_line_feed",
            Refusal::ControlByte => "control_byte",
            Refusal::TooManyEmptyLines => "too_many_empty_lines",
            Refusal::InvalidRequestLine => "invalid_request_line",
            Refusal::InvalidStatusLine => "invalid_status_line",
            Refusal::UnsupportedVersion => "unsupported_version",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::TargetTooLong => "target_too_long",
            Refusal::TooManyFields => "too_many_fields",
            Refusal::TooManyConnectionOptions => "too_many_connection_options",
            Refusal::InvalidFieldName => "invalid_field_name",
            Refusal::InvalidFieldValue => "invalid_field_value",
            Refusal::ObsoleteFold => "obsolete_fold",
            Refusal::UnderscoreInName => "underscore_in_field_name",
            Refusal::InvalidTarget => "invalid_target",
            Refusal::UnsupportedScheme => "unsupported_scheme",
            Refusal::Userinfo => "userinfo_in_authority",
            Refusal::Fragment => "fragment_in_target",
            Refusal::InvalidHost => "invalid_host",
            Refusal::InvalidPort => "invalid_port",
            Refusal::MissingPort => "missing_port",
            Refusal::MissingHost => "missing_host",
            Refusal::DuplicateHost => "duplicate_host",
            Refusal::HostMismatch => "host_mismatch",
            Refusal::LengthAndChunked => "content_length_with_transfer_encoding",
            Refusal::InvalidContentLength => "invalid_content_length",
            Refusal::ConflictingContentLength => "conflicting_content_length",
            Refusal::UnsupportedTransferCoding => "unsupported_transfer_coding",
            Refusal::TransferEncodingInHttp10 => "transfer_encoding_in_http_10",
            Refusal::BodyInConnect => "body_in_connect",
            Refusal::InvalidChunkSize => "invalid_chunk_size",
            Refusal::InvalidChunkExtension => "invalid_chunk_extension",
            Refusal::ChunkExtensionTooLong => "chunk_extension_too_long",
            Refusal::InvalidChunkEnd => "invalid_chunk_end",
            Refusal::InvalidTrailer => "invalid_trailer",
            Refusal::ForbiddenTrailer => "forbidden_trailer",
            Refusal::TrailersTooLarge => "trailers_too_large",
            Refusal::Http10NotAccepted => "http_10_not_accepted",
            Refusal::AbsoluteUrlNotAllowed => "absolute_url_not_allowed",
            Refusal::InvalidMaxForwards => "invalid_max_forwards",
        }
    }

    /// One sentence for a person.
    pub fn explanation(self) -> &'static str {
        match self {
            Refusal::NotHttp => "What arrived is not HTTP. A TLS client must use CONNECT through this proxy.",
            Refusal::BareLineFeed => "A line ended in LF without CR.",
            Refusal::ControlByte => "A control byte stands where none may be.",
            Refusal::TooManyEmptyLines => "Too many empty lines came before the request line.",
            Refusal::InvalidRequestLine => "The request line is not METHOD SP TARGET SP VERSION.",
            Refusal::InvalidStatusLine => "The status line cannot be read.",
            Refusal::UnsupportedVersion => "This proxy speaks HTTP/1.1 and HTTP/1.0.",
            Refusal::HeadTooLarge => "The head is larger than the limit.",
            Refusal::TargetTooLong => "The request target is longer than the limit.",
            Refusal::TooManyFields => "The head has more fields than the limit.",
            Refusal::TooManyConnectionOptions => "Connection names more fields than a message may have it name.",
            Refusal::InvalidFieldName => "A field name is empty or holds a byte that is not allowed, such as a space before the colon.",
            Refusal::InvalidFieldValue => "A field value holds a control byte.",
            Refusal::ObsoleteFold => "A field is folded over several lines.",
            Refusal::UnderscoreInName => "A field name holds an underscore, which this proxy is set to refuse.",
            Refusal::InvalidTarget => "The request target fits none of the forms that a proxy serves.",
            Refusal::UnsupportedScheme => "Only http:// targets are served; use CONNECT for https.",
            Refusal::Userinfo => "The authority holds user information.",
            Refusal::Fragment => "The request target holds a fragment.",
            Refusal::InvalidHost => "The host is not a valid name or address.",
            Refusal::InvalidPort => "The port is not a number from 1 to 65535.",
            Refusal::MissingPort => "CONNECT needs host:port.",
            Refusal::MissingHost => "There is no Host field.",
            Refusal::DuplicateHost => "There is more than one Host field.",
            Refusal::HostMismatch => "Host differs from the authority of the request target.",
            Refusal::LengthAndChunked => "Content-Length and Transfer-Encoding came together.",
            Refusal::InvalidContentLength => "Content-Length is not a number.",
            Refusal::ConflictingContentLength => "There are different Content-Length values.",
            Refusal::UnsupportedTransferCoding => "Transfer-Encoding is not exactly \"chunked\".",
            Refusal::TransferEncodingInHttp10 => "Transfer-Encoding came in an HTTP/1.0 message.",
            Refusal::BodyInConnect => "CONNECT has no body.",
            Refusal::InvalidChunkSize => "A chunk size cannot be read.",
            Refusal::InvalidChunkExtension => "A chunk extension holds a byte that is not allowed.",
            Refusal::ChunkExtensionTooLong => "Chunk extensions are longer than the limit.",
            Refusal::InvalidChunkEnd => "Chunk data is not followed by CRLF.",
            Refusal::InvalidTrailer => "A trailer field is malformed.",
            Refusal::ForbiddenTrailer => "A trailer field names framing, routing or connection control.",
            Refusal::TrailersTooLarge => "The trailers are larger than the limit.",
            Refusal::Http10NotAccepted => "HTTP/1.0 is not accepted here.",
            Refusal::AbsoluteUrlNotAllowed => "Absolute request targets are not allowed here.",
            Refusal::InvalidMaxForwards => "Max-Forwards is not a number.",
        }
    }
}
