//! Edits of a client's file as text: what we put in stands between marks, and what it replaces is kept as a comment, so that
//! taking it out gives the old file back, byte for byte.

/// The lines around ours, and before one that ours replaces.
pub(super) struct Mark {
    begin: String,
    end: String,
}

/// Before a line of the file's own that would contradict ours.
const KEPT: &str = "#outrider# ";
/// Behind the mark where the file had no end of line there.
const NO_LINE_END: &str = " (there was no end of line)";

const XML_BEGIN: &str = "    <!-- >>> outrider -->\n";
const XML_END: &str = "    <!-- <<< outrider -->\n";
/// A file of Maven's that says nothing.
const XML_EMPTY: &str = "<settings>\n</settings>\n";

impl Mark {
    pub(super) fn new(client: &str) -> Mark {
        Mark { begin: format!("# >>> outrider ({client})"), end: format!("# <<< outrider ({client})\n") }
    }

    /// `text` with our lines at a beginning of a line.
    fn insert(&self, text: &str, at: usize, lines: &str) -> String {
        let (before, after) = text.split_at(at);
        let (line_end, note) = if before.is_empty() || before.ends_with('\n') { ("", "") } else { ("\n", NO_LINE_END) };
        format!("{before}{line_end}{}{note}\n{lines}{}{after}", self.begin, self.end)
    }
}

/// Takes out what [`put_lines`] and its like put in.
pub(super) fn take_lines(text: &str, mark: &Mark) -> String {
    let Some((before, ours, after)) = marked(text, mark) else { return text.to_owned() };
    let first_line = ours.lines().next().unwrap_or_default();
    let before = if first_line.ends_with(NO_LINE_END) { before.strip_suffix('\n').unwrap_or(before) } else { before };
    format!("{before}{after}").split_inclusive('\n').map(|line| line.strip_prefix(KEPT).unwrap_or(line)).collect()
}

/// What is before, within and behind the marks; both have to be whole lines.
fn marked<'t>(text: &'t str, mark: &Mark) -> Option<(&'t str, &'t str, &'t str)> {
    let is_begin = |line: &str| {
        let rest = line.strip_prefix(&mark.begin).map(|rest| rest.trim_end_matches('\n'));
        rest.is_some_and(|rest| rest.is_empty() || rest == NO_LINE_END)
    };
    let begin = lines(text).find(|(_, line)| is_begin(line))?.0;
    let end = lines(text).find(|(at, line)| *at > begin && line.trim_end() == mark.end.trim_end()).map(|(at, line)| at + line.len())?;
    Some((&text[..begin], &text[begin..end], &text[end..]))
}

/// Each line with its line end, and where it begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let begin = *at;
        *at += line.len();
        Some((begin, line))
    })
}

/// Our lines at the end, where they hold over others; where they stand already, they stay there.
pub(super) fn put_lines(text: &str, mark: &Mark, lines: &str) -> String {
    let at = marked(text, mark).map(|(before, ours, _)| (before.len(), ours.contains(NO_LINE_END)));
    let text = take_lines(text, mark);
    match at {
        Some((at, had_no_end)) => mark.insert(&text, at - usize::from(had_no_end), lines),
        None => mark.insert(&text, text.len(), lines),
    }
}

/// Our keys at the beginning of a section, which is made at the end where there is none.
///
/// # Errors
/// When a line is none of a file of this kind.
pub(super) fn put_section(text: &str, section: Option<&str>, mark: &Mark, ours: &str) -> Result<String, String> {
    let text = take_lines(text, mark);
    if let Some((number, line)) = text.lines().enumerate().find(|(_, line)| line.starts_with('[') && !line.contains(']')) {
        return Err(format!("line {} is no section: {line}", number + 1));
    }
    let keys: Vec<String> = ours.lines().filter_map(key).collect();
    let mut at = section.is_none().then_some(0);
    let mut inside = section.is_none();
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        let is_contrary = inside && key(line).is_some_and(|key| keys.contains(&key));
        if is_contrary {
            kept.push_str(KEPT);
        }
        kept.push_str(line);
        if let Some(name) = section_name(line) {
            inside = section.is_some_and(|section| section.eq_ignore_ascii_case(name));
            if inside {
                at.get_or_insert(kept.len());
            }
        }
    }
    Ok(match (at, section) {
        (Some(at), _) => mark.insert(&kept, at, ours),
        (None, Some(section)) => mark.insert(&kept, kept.len(), &format!("[{section}]\n{ours}")),
        (None, None) => unreachable!("what stands before all sections begins where the file does"),
    })
}

/// `key` of `key = value` or `key: value`, in lower case; none of a comment.
fn key(line: &str) -> Option<String> {
    let (key, _) = line.split_once(['=', ':'])?;
    let key = key.trim();
    (!key.starts_with(['#', ';', '['])).then(|| key.to_ascii_lowercase())
}

/// `name` of `[name]`.
fn section_name(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('[')?;
    let (name, behind) = rest.split_once(']')?;
    let behind = behind.trim();
    (behind.is_empty() || behind.starts_with(['#', ';'])).then(|| name.trim())
}

/// One key of a table; the result is read again, and has to say all that it said before.
///
/// # Errors
/// When the file is no TOML, or has the table in a form that this does not know.
pub(super) fn put_toml(text: &str, table: &'static str, key: &'static str, value: &str, mark: &Mark) -> Result<String, String> {
    let parse = |text: &str| text.parse::<toml::Table>();
    let without_ours = |mut all: toml::Table| {
        let is_empty = all.get_mut(table).and_then(toml::Value::as_table_mut).is_some_and(|table| {
            table.remove(key);
            table.is_empty()
        });
        if is_empty {
            all.remove(table);
        }
        all
    };
    let before = parse(text).map_err(|error| format!("this is no TOML: {}", error.message()))?;
    let line = format!("{key} = {value}\n");
    let by_hand = || format!("[{table}] is written in a way that cannot be added to; add by hand: {table}.{key} = {value}");
    let after = put_section(text, Some(table), mark, &line)?;
    let parsed = parse(&after).map_err(|_| by_hand())?;
    let is_set = parsed.get(table).and_then(|table| table.get(key)).map(|set| set.to_string()).is_some_and(|set| set == value);
    if is_set && without_ours(parsed) == without_ours(before) { Ok(after) } else { Err(by_hand()) }
}

/// Our elements at the end of `<proxies>`, which is made where there is none.
///
/// # Errors
/// When the file has no `<settings>` to put them in.
pub(super) fn put_xml(text: &str, elements: &str) -> Result<String, String> {
    let text = if text.is_empty() { XML_EMPTY.to_owned() } else { take_xml_block(text) };
    let visible = without_comments(&text);
    let line_of = |tag: &str| visible.find(tag).map(|at| visible[..at].rfind('\n').map_or(0, |line| line + 1));
    let put = |at: usize, elements: &str| format!("{}{XML_BEGIN}{elements}{XML_END}{}", &text[..at], &text[at..]);
    match (line_of("</proxies>"), line_of("</settings>")) {
        _ if !visible.contains("<settings") || visible.contains("<proxies/>") => {
            Err("this is no <settings> with room for <proxies>".to_owned())
        }
        (Some(at), Some(_)) if visible[at..].trim_start().starts_with("</proxies>") => Ok(put(at, elements)),
        (None, Some(at)) if visible[at..].trim_start().starts_with("</settings>") => {
            Ok(put(at, &format!("    <proxies>\n{elements}    </proxies>\n")))
        }
        _ => Err("its </proxies> or </settings> does not begin a line".to_owned()),
    }
}

/// What the file was; empty where it says nothing but what we made.
pub(super) fn take_xml(text: &str) -> String {
    let text = take_xml_block(text);
    if text == XML_EMPTY { String::new() } else { text }
}

fn take_xml_block(text: &str) -> String {
    let block = text.find(XML_BEGIN).and_then(|begin| Some((begin, begin + text[begin..].find(XML_END)? + XML_END.len())));
    block.map_or_else(|| text.to_owned(), |(begin, end)| format!("{}{}", &text[..begin], &text[end..]))
}

/// With spaces in place of comments, so that places stay what they are.
fn without_comments(text: &str) -> String {
    let mut visible = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("<!--") {
        let end = rest[begin..].find("-->").map_or(rest.len(), |end| begin + end + 3);
        visible.push_str(&rest[..begin]);
        visible.extend(rest[begin..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    visible + rest
}
