//! Request targets (RFC 9112 section 3.2).

use std::borrow::Cow;

use memchr::{memchr3, memrchr};

use super::Refusal;
use super::authority::{Authority, AuthorityError};

/// The four forms of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'b> {
    /// `http://authority/path?query`: a request to a proxy.
    Absolute(AbsoluteTarget<'b>),
    /// `host:port`, for CONNECT alone.
    Authority(Authority),
    /// `/path?query`: a request to this server itself.
    Origin,
    /// `*`, for OPTIONS alone.
    Asterisk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsoluteTarget<'b> {
    pub authority: Authority,
    /// The authority as the client wrote it, which is what goes out in Host.
    pub authority_text: &'b [u8],
    /// Path and query as written; empty, or starting with `?`, where the path was left out.
    pub path_and_query: &'b [u8],
}

impl<'b> Target<'b> {
    pub fn parse(method: &[u8], target: &'b [u8]) -> Result<Target<'b>, Refusal> {
        if method == b"CONNECT" {
            return Authority::parse(target, None).map(Target::Authority).map_err(Refusal::from);
        }
        if target.first() == Some(&b'/') {
            return if target.contains(&b'#') { Err(Refusal::Fragment) } else { Ok(Target::Origin) };
        }
        if target == b"*" {
            return if method == b"OPTIONS" { Ok(Target::Asterisk) } else { Err(Refusal::InvalidTarget) };
        }
        parse_absolute(target).map(Target::Absolute)
    }
}

fn parse_absolute(target: &[u8]) -> Result<AbsoluteTarget<'_>, Refusal> {
    let colon = target.iter().position(|&byte| byte == b':').ok_or(Refusal::InvalidTarget)?;
    let (scheme, rest) = target.split_at(colon);
    let Some(rest) = rest.strip_prefix(b"://") else {
        return Err(Refusal::InvalidTarget);
    };
    if !scheme.eq_ignore_ascii_case(b"http") {
        let valid = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        return Err(if valid { Refusal::UnsupportedScheme } else { Refusal::InvalidTarget });
    }
    let end = memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let (authority_text, path_and_query) = rest.split_at(end);
    if path_and_query.contains(&b'#') {
        return Err(Refusal::Fragment);
    }
    let authority = Authority::parse(authority_text, Some(80))?;
    Ok(AbsoluteTarget { authority, authority_text, path_and_query })
}

/// A target that may have been refused, fit to be shown: what may be a user's name and password is masked.
///
/// No request that is served has any, so it does not matter that an `@` in the path of one that is refused for another reason
/// has what stands before it masked, too.
pub fn without_userinfo(target: &[u8]) -> Cow<'_, [u8]> {
    let is_path = target.first() == Some(&b'/') && target.get(1) != Some(&b'/');
    let Some(at) = memrchr(b'@', target).filter(|_| !is_path) else { return Cow::Borrowed(target) };
    let scheme = memchr::memmem::find(&target[..at], b"://").map_or(0, |colon| colon + 3);
    Cow::Owned([&target[..scheme], b"***", &target[at..]].concat())
}

impl From<AuthorityError> for Refusal {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Userinfo => Refusal::Userinfo,
            AuthorityError::MissingHost | AuthorityError::InvalidHost => Refusal::InvalidHost,
            AuthorityError::MissingPort => Refusal::MissingPort,
            AuthorityError::InvalidPort => Refusal::InvalidPort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let Ok(Target::Absolute(target)) = Target::parse(b"GET", b"HTTP://Example.org:8080?q") else { panic!() };
        assert_eq!(target.authority.to_string(), "example.org:8080");
        assert_eq!((target.authority_text, target.path_and_query), (&b"Example.org:8080"[..], &b"?q"[..]));
        assert_eq!(Target::parse(b"GET", b"/x"), Ok(Target::Origin));
        assert_eq!(Target::parse(b"OPTIONS", b"*"), Ok(Target::Asterisk));
        assert!(matches!(Target::parse(b"CONNECT", b"[::1]:443"), Ok(Target::Authority(_))));
    }

    #[test]
    fn passwords_are_masked() {
        for (target, shown) in [
            ("http://example.org/a@b", "http://***@b"),
            ("http://user:secret@example.org/", "http://***@example.org/"),
            ("http://user:se/cr?e#t@example.org/", "http://***@example.org/"),
            ("user:secret@example.org:443", "***@example.org:443"),
            ("a:b@c:d@example.org:443", "***@example.org:443"),
            ("//user:secret@example.org/", "***@example.org/"),
            ("http:/user:secret@example.org/", "***@example.org/"),
            ("/mail/a@b", "/mail/a@b"),
            ("http://example.org/", "http://example.org/"),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_userinfo(target.as_bytes())), shown, "{target}");
        }
    }

    #[test]
    fn refusals() {
        use Refusal::*;
        for (method, target, refusal) in [
            ("GET", "*", InvalidTarget),
            ("GET", "example.org:80", InvalidTarget),
            ("GET", "http:/example.org", InvalidTarget),
            ("GET", "http:example.org", InvalidTarget),
            ("GET", "://example.org", InvalidTarget),
            ("GET", "https://example.org/", UnsupportedScheme),
            ("GET", "ftp://example.org/", UnsupportedScheme),
            ("GET", "http://", InvalidHost),
            ("GET", "http:///path", InvalidHost),
            ("GET", "http://user:pw@example.org/", Userinfo),
            ("GET", "http://example.org/#top", Fragment),
            ("GET", "http://example.org#top", Fragment),
            ("GET", "http://example.org\\@evil/", Userinfo),
            ("GET", "http://example.org\\evil/", InvalidHost),
            ("GET", "http://example.org:99999/", InvalidPort),
            ("CONNECT", "example.org", MissingPort),
            ("CONNECT", "example.org:", MissingPort),
            ("CONNECT", "example.org:0", InvalidPort),
            ("CONNECT", "http://example.org:443", InvalidPort),
            ("CONNECT", "example.org:443/", InvalidPort),
            ("CONNECT", "/", InvalidHost),
        ] {
            assert_eq!(Target::parse(method.as_bytes(), target.as_bytes()).map(|_| ()), Err(refusal), "{method} {target}");
        }
    }
}
