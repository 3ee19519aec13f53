//! Why a message was refused.

/// The one list: variant, stable reason, and a sentence for people.
macro_rules! refusals {
    ($($(#[$comment:meta])* $name:ident = $reason:literal, $explanation:literal;)*) => {
        /// A message that is not passed on, because its meaning is in doubt or a limit was reached.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Refusal {
            $($(#[$comment])* $name,)*
        }

        impl Refusal {
            /// For the documents.
            pub const ALL: &[Refusal] = &[$(Refusal::$name),*];

            /// Stable name, for logs and programs.
            pub fn reason(self) -> &'static str {
                match self {
                    $(Refusal::$name => $reason,)*
                }
            }

            /// One sentence for a person.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Refusal::$name => $explanation,)*
                }
            }
        }
    };
}

refusals! {
    // The lines of a head.
    NotHttp = "not_http", "What arrived is not HTTP.";
    Tls = "tls_handshake", "What arrived is TLS, and this port speaks plain HTTP: name the proxy by an http:// URL; clients use CONNECT through it for https.";
    Socks4 = "socks4_request", "What arrived is SOCKS 4, and this is an HTTP proxy: set it as an HTTP proxy, by an http:// URL.";
    Socks5 = "socks5_request", "What arrived is SOCKS 5, and this is an HTTP proxy: set it as an HTTP proxy, by an http:// URL.";
    Ssh = "ssh_banner", "What arrived is SSH, which goes through an HTTP proxy by CONNECT: see ProxyCommand in ssh_config(5).";
    Http2Preface = "http2_preface", "What arrived is HTTP/2, and this proxy speaks HTTP/1.1 and HTTP/1.0 with its clients.";
    BareLineFeed = "bare_line_feed", "A line ended in LF without CR.";
    ControlByte = "control_byte", "A control byte stands where none may be.";
    TooManyEmptyLines = "too_many_empty_lines", "Too many empty lines came before the request line.";
    InvalidRequestLine = "invalid_request_line", "The request line is not METHOD SP TARGET SP VERSION.";
    InvalidStatusLine = "invalid_status_line", "The status line cannot be read.";
    UnsupportedVersion = "unsupported_version", "This proxy speaks HTTP/1.1 and HTTP/1.0.";
    HeadTooLarge = "head_too_large", "The head is larger than the limit.";
    TargetTooLong = "target_too_long", "The request target is longer than the limit.";
    TooManyFields = "too_many_fields", "The head has more fields than the limit.";
    TooManyConnectionOptions = "too_many_connection_options", "Connection names more fields than a message may have it name.";
    InvalidFieldName = "invalid_field_name", "A field name is empty or holds a byte that is not allowed, such as a space before the colon.";
    InvalidFieldValue = "invalid_field_value", "A field value holds a control byte.";
    ObsoleteFold = "obsolete_fold", "A field is folded over several lines.";
    UnderscoreInName = "underscore_in_field_name", "A field name holds an underscore, which this proxy is set to refuse.";
    // Where a request is meant to go.
    InvalidTarget = "invalid_target", "The request target fits none of the forms that a proxy serves.";
    UnsupportedScheme = "unsupported_scheme", "Only http:// targets are served; use CONNECT for https.";
    Userinfo = "userinfo_in_authority", "The authority holds user information.";
    Fragment = "fragment_in_target", "The request target holds a fragment.";
    InvalidHost = "invalid_host", "The host is not a valid name or address.";
    InvalidPort = "invalid_port", "The port is not a number from 1 to 65535.";
    MissingPort = "missing_port", "CONNECT needs host:port.";
    MissingHost = "missing_host", "There is no Host field.";
    DuplicateHost = "duplicate_host", "There is more than one Host field.";
    HostMismatch = "host_mismatch", "Host differs from the authority of the request target.";
    // Where a message ends.
    LengthAndChunked = "content_length_with_transfer_encoding", "Content-Length and Transfer-Encoding came together.";
    InvalidContentLength = "invalid_content_length", "Content-Length is not a number.";
    ConflictingContentLength = "conflicting_content_length", "There are different Content-Length values.";
    InvalidTransferEncoding = "invalid_transfer_encoding", "Transfer-Encoding is empty, or has an empty element.";
    UnsupportedTransferCoding = "unsupported_transfer_coding", "Transfer-Encoding is not exactly \"chunked\".";
    TransferEncodingInHttp10 = "transfer_encoding_in_http_10", "Transfer-Encoding came in an HTTP/1.0 message.";
    BodyInConnect = "body_in_connect", "CONNECT has no body.";
    BodyInTrace = "body_in_trace", "TRACE has no body.";
    InvalidChunkSize = "invalid_chunk_size", "A chunk size cannot be read.";
    InvalidChunkExtension = "invalid_chunk_extension", "A chunk extension has no name, or is malformed in another way.";
    ChunkExtensionTooLong = "chunk_extension_too_long", "Chunk extensions are longer than the limit.";
    InvalidChunkEnd = "invalid_chunk_end", "Chunk data is not followed by CRLF.";
    InvalidTrailer = "invalid_trailer", "A trailer field is malformed.";
    ForbiddenTrailer = "forbidden_trailer", "A trailer field names framing, routing or connection control.";
    TrailersTooLarge = "trailers_too_large", "The trailers are larger than the limit.";
    // What a proxy must not do.
    Http10NotAccepted = "http_10_not_accepted", "HTTP/1.0 is not accepted here.";
    AbsoluteUrlNotAllowed = "absolute_url_not_allowed", "Absolute request targets are not allowed here.";
    InvalidMaxForwards = "invalid_max_forwards", "Max-Forwards is not a number.";
}

impl Refusal {
    /// Status of the local reply when a request is refused; a refused response is always a 502.
    pub fn request_status(self) -> u16 {
        match self {
            Refusal::UnsupportedVersion | Refusal::Http2Preface => 505,
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
}
