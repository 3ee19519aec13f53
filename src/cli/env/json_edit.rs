//! Adding members to a file of JSON, and taking them out, with everything else left as it is written.

use std::ops::Range;

/// Deeper than any file of settings.
const MAX_DEPTH: usize = 100;

/// Adds `members`, whose values are JSON, to the object at `path`, whose objects are made where they are missing.
///
/// # Errors
/// When the text is no JSON, or has another value in that place, which somebody must have put there.
pub(super) fn put(text: &str, path: &[&str], members: &[(&str, String)]) -> Result<String, String> {
    let mut text = if text.trim().is_empty() { "{}\n".to_owned() } else { text.to_owned() };
    for (name, value) in members {
        let (object, missing) = find(&text, path)?;
        match object.member(name).filter(|_| missing.is_empty()) {
            Some(present) if text[present.value.clone()] == *value => {}
            Some(present) => {
                let line = text[..present.start].matches('\n').count() + 1;
                return Err(format!("line {line} sets \"{name}\" to {} already; take that out first", &text[present.value.clone()]));
            }
            None => text = insert(&text, &object, missing, name, value),
        }
    }
    Ok(text)
}

/// Takes `members` out where they have these values, and the objects of `path` that they leave empty.
///
/// # Errors
/// When the text is no JSON.
pub(super) fn take(text: &str, path: &[&str], members: &[(&str, String)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (name, value) in members {
        let (object, missing) = find(&text, path)?;
        if let Some(index) = object.members.iter().position(|member| member.name == *name).filter(|_| missing.is_empty())
            && text[object.members[index].value.clone()] == *value
        {
            text.replace_range(object.span_of(index), "");
        }
    }
    for depth in (0..path.len()).rev() {
        let (object, missing) = find(&text, &path[..depth])?;
        if !missing.is_empty() {
            continue;
        }
        if let Some(index) = object.members.iter().position(|member| member.name == path[depth])
            && is_empty_object(&text[object.members[index].value.clone()])
        {
            text.replace_range(object.span_of(index), "");
        }
    }
    Ok(if is_empty_object(text.trim()) { String::new() } else { text })
}

fn is_empty_object(text: &str) -> bool {
    text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(|inside| inside.trim().is_empty())
}

/// An object as it is written.
struct Object {
    /// Behind the opening brace.
    inside: usize,
    /// At the closing brace.
    end: usize,
    members: Vec<Member>,
}

struct Member {
    name: String,
    start: usize,
    value: Range<usize>,
}

impl Object {
    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The member with one of its commas, and all that is inside where it is the only one.
    fn span_of(&self, index: usize) -> Range<usize> {
        let member = &self.members[index];
        match (index.checked_sub(1), self.members.get(index + 1)) {
            (Some(before), _) => self.members[before].value.end..member.value.end,
            (None, Some(next)) => member.start..next.start,
            (None, None) => self.inside..self.end,
        }
    }
}

/// The object at `path`, or the last one on the way to it and the names that are missing there.
fn find<'p>(text: &str, mut path: &'p [&'p str]) -> Result<(Object, &'p [&'p str]), String> {
    let mut scanner = Scanner { text, at: 0 };
    let mut found = scanner.whole()?;
    while let Some((name, rest)) = path.split_first() {
        let Some(member) = found.member(name) else { break };
        let mut scanner = Scanner { text, at: member.value.start };
        if !text[member.value.clone()].starts_with('{') {
            return Err(format!("\"{name}\" is no object"));
        }
        found = scanner.object(0)?;
        path = rest;
    }
    Ok((found, path))
}

/// `text` with the member behind the last one of `object`, in lines where that is in lines.
fn insert(text: &str, object: &Object, missing: &[&str], name: &str, value: &str) -> String {
    let gap = match object.members.last() {
        Some(last) => {
            let before = object.members.iter().rev().nth(1).map_or(object.inside, |member| member.value.end);
            text[before..last.start].trim_start_matches(|letter: char| letter != '\n' && letter != ' ' && letter != '\t').to_owned()
        }
        None => format!("\n{}  ", indentation(text, object.inside)),
    };
    let indent = gap.rsplit('\n').next().filter(|_| gap.contains('\n'));
    let mut member = format!("\"{name}\": {value}");
    for (depth, outer) in missing.iter().enumerate().rev() {
        member = match indent {
            Some(indent) => {
                let indent = indent.to_owned() + &"  ".repeat(depth);
                format!("\"{outer}\": {{\n{indent}  {member}\n{indent}}}")
            }
            None => format!("\"{outer}\": {{{member}}}"),
        };
    }
    match object.members.last() {
        Some(last) => format!("{},{gap}{member}{}", &text[..last.value.end], &text[last.value.end..]),
        None => format!("{}{gap}{member}\n{}{}", &text[..object.inside], indentation(text, object.inside), &text[object.end..]),
    }
}

/// What the line at `at` begins with.
fn indentation(text: &str, at: usize) -> &str {
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    &line[..line.len() - line.trim_start().len()]
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl Scanner<'_> {
    fn whole(&mut self) -> Result<Object, String> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return self.fail();
        }
        let object = self.object(0)?;
        self.skip_space();
        if self.at == self.text.len() { Ok(object) } else { self.fail() }
    }

    fn object(&mut self, depth: usize) -> Result<Object, String> {
        self.at += 1;
        let mut object = Object { inside: self.at, end: self.at, members: Vec::new() };
        self.list(b'}', |scanner| {
            let start = scanner.at;
            let name = scanner.string()?;
            scanner.skip_space();
            scanner.expect(b':')?;
            scanner.skip_space();
            let value = scanner.at;
            scanner.value(depth + 1)?;
            object.members.push(Member { name, start, value: value..scanner.at });
            Ok(())
        })?;
        object.end = self.at - 1;
        Ok(object)
    }

    /// Items with commas up to `close`.
    fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            item(self)?;
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.fail(),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), String> {
        match self.peek() {
            _ if depth > MAX_DEPTH => self.fail(),
            Some(b'{') => self.object(depth).map(drop),
            Some(b'[') => {
                self.at += 1;
                self.list(b']', |scanner| scanner.value(depth + 1))
            }
            Some(b'"') => self.string().map(drop),
            _ => {
                let rest = &self.text[self.at..];
                let word =
                    &rest[..rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter)).unwrap_or(rest.len())];
                let is_number = word.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && word.parse::<f64>().is_ok();
                if !is_number && !matches!(word, "true" | "false" | "null") {
                    return self.fail();
                }
                self.at += word.len();
                Ok(())
            }
        }
    }

    /// What is between the quotes, with its escapes: no name of ours needs one.
    fn string(&mut self) -> Result<String, String> {
        self.expect(b'"')?;
        let start = self.at;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(self.text[start..self.at - 1].to_owned());
                }
                b'\\' => self.at += 2,
                0..0x20 => return self.fail(),
                _ => self.at += 1,
            }
        }
        self.fail()
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() != Some(byte) {
            return self.fail();
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fail<T>(&self) -> Result<T, String> {
        let read = &self.text.as_bytes()[..self.at.min(self.text.len())];
        Err(format!("this is no JSON, from line {} on", read.iter().filter(|&&byte| byte == b'\n').count() + 1))
    }
}
