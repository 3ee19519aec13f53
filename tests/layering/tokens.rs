//! Rust source cut into the tokens that imports are made of.

/// One token; numbers, comments, lifetimes and literals other than plain strings are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// The text of a string literal, escapes as written.
    Text(String),
    /// `::`
    Colons,
    Mark(char),
}

impl Token {
    pub fn is(&self, mark: char) -> bool {
        *self == Token::Mark(mark)
    }

    pub fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if rest.starts_with("/*") {
            after_block_comment(rest)
        } else if let Some(after) = after_raw_string(rest) {
            after
        } else if let Some(quoted) = rest.strip_prefix("b\"").or_else(|| rest.strip_prefix("c\"")).or_else(|| rest.strip_prefix('"')) {
            let end = end_of_literal(quoted, '"');
            tokens.push(Token::Text(quoted[..end].to_owned()));
            quoted.get(end + 1..).unwrap_or("")
        } else if let Some(quoted) = rest.strip_prefix("b'").or_else(|| rest.strip_prefix('\'')) {
            after_quote(quoted)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
            if !first.is_ascii_digit() {
                tokens.push(Token::Word(rest[..end].to_owned()));
            }
            &rest[end..]
        } else if let Some(after) = rest.strip_prefix("::") {
            tokens.push(Token::Colons);
            after
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Mark(first));
            }
            &rest[first.len_utf8()..]
        };
    }
    tokens
}

fn after_block_comment(text: &str) -> &str {
    let mut depth = 0;
    let mut rest = text;
    loop {
        rest = if let Some(after) = rest.strip_prefix("/*") {
            depth += 1;
            after
        } else if let Some(after) = rest.strip_prefix("*/") {
            depth -= 1;
            after
        } else {
            let Some(character) = rest.chars().next() else { return "" };
            &rest[character.len_utf8()..]
        };
        if depth == 0 {
            return rest;
        }
    }
}

/// `r"…"`, `r#"…"#`, `br#"…"#`.
fn after_raw_string(text: &str) -> Option<&str> {
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let body = raw[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&close).map_or("", |end| &body[end + close.len()..]))
}

/// What follows a character literal or a lifetime whose quote has been taken.
fn after_quote(text: &str) -> &str {
    let mut characters = text.chars();
    let first = characters.next();
    if first == Some('\\') || characters.next() == Some('\'') {
        return text.get(end_of_literal(text, '\'') + 1..).unwrap_or("");
    }
    text.trim_start_matches(|character: char| character.is_alphanumeric() || character == '_')
}

/// Where the closing quote is, past escapes.
fn end_of_literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        if !escaped && character == quote {
            return index;
        }
        escaped = !escaped && character == '\\';
    }
    text.len()
}

#[test]
fn literals_and_comments_are_no_code() {
    let text = r##"a::b /* c /* d */ e */ 'f' '\'' b'"' "g\"h" // i
        &'life j r#"k"l"# br"m" 0x2f n"##;
    let words: Vec<String> = tokens(text).iter().filter_map(|token| token.word().map(str::to_owned)).collect();
    assert_eq!(words, ["a", "b", "j", "n"]);
}
