//! Man pages and completions are made from the command line's grammar and the packaged configuration. They are kept in
//! the tree, so that packages need no extra step; `UPDATE=1 cargo test --test appliance` makes them anew.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use outrider::{access_log, cli, config, downstream};

/// Compares, or writes where that was asked for.
#[track_caller]
fn check(path: &str, text: &[u8]) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).expect("the tree can be written");
        return;
    }
    let is_fresh = std::fs::read(&path).is_ok_and(|present| present == text);
    assert!(is_fresh, "{} is stale; run `UPDATE=1 cargo test --test appliance`", path.display());
}

/// A part of a page that is written by hand.
fn part(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/parts").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn completions() {
    for (shell, path) in
        [(Shell::Bash, "completions/outrider.bash"), (Shell::Zsh, "completions/_outrider"), (Shell::Fish, "completions/outrider.fish")]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), "outrider", &mut text);
        check(path, &text);
    }
}

#[test]
fn manual_of_the_program() {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command()).section("8").manual("System Manager's Manual").date("");
    man.render_title(&mut page).expect("in memory");
    man.render_name_section(&mut page).expect("in memory");
    man.render_synopsis_section(&mut page).expect("in memory");
    page.extend_from_slice(part("outrider.8").as_bytes());
    page.extend_from_slice(b".SH OPTIONS\n");
    // Without its own title: the section has one.
    let mut options = Vec::new();
    man.render_options_section(&mut options).expect("in memory");
    page.extend(without_first_title(&options));
    page.extend_from_slice(b".SH COMMANDS\n");
    for command in command().get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        page.extend(
            format!(".SS \"outrider {}\"\n{}\n", command.get_name(), roff(&command.get_about().expect("described").to_string()))
                .into_bytes(),
        );
        let mut options = Vec::new();
        clap_mangen::Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut options).expect("in memory");
        page.extend(without_first_title(&options));
    }
    page.extend_from_slice(part("outrider.8.end").as_bytes());
    for variable in variables(&command()) {
        assert!(part("outrider.8.end").contains(&format!("\n.B {variable}\n")), "the page says nothing about {variable}");
    }
    check("man/outrider.8", &page);
}

#[test]
fn manual_of_the_file() {
    let mut page = part("outrider.toml.5");
    page.push_str(".SH THE PACKAGED FILE\nIt spells out every key with its default.\n.P\n.nf\n");
    for line in config::EMBEDDED.lines() {
        page.push_str(&roff(line));
        page.push('\n');
    }
    page.push_str(".fi\n.SH SEE ALSO\n.BR outrider (8),\n.BR outrider\\-policy (5),\n.BR outrider\\-log (5)\n");
    check("man/outrider.toml.5", page.as_bytes());
}

#[test]
fn manual_of_the_log() {
    let mut page = part("outrider-log.5");
    page.push_str(".SH FIELDS\nKeys come in this order. One without a value is left out, unless it is in every line.\n");
    for field in access_log::FIELDS {
        let when = if field.always { " (in every line)" } else { "" };
        page.push_str(&format!(".TP\n.BR {} \"{when}\"\n{}\n", roff(field.name), roff(field.meaning)));
    }
    page.push_str(".SH RESPONSE FLAGS\nThese are Envoy\\(aqs, and say whose fault it was.\n");
    for (flag, name, remedy) in downstream::FLAGS {
        page.push_str(&format!(".TP\n.BR {flag} \" ({})\"\n{}.\n", roff(name), roff(remedy)));
    }
    page.push_str(".SH REASONS\nNames stay the same from release to release. In brackets: the response flag, and the status where the client had got nothing yet.\n");
    for reason in downstream::REASONS.iter() {
        let shape = [Some(reason.flag.to_owned()).filter(|flag| !flag.is_empty()), reason.status.map(|status| status.to_string())];
        let shape: Vec<String> = shape.into_iter().flatten().collect();
        let shape = if shape.is_empty() { String::new() } else { format!(" ({})", shape.join(", ")) };
        page.push_str(&format!(".TP\n.BR {} \"{shape}\"\n{}\n", roff(reason.name), roff(&reason.meaning)));
    }
    page.push_str(".SH RECIPES\nEach reads the log from standard input, and goes behind\n.IP\n.nf\n");
    page.push_str(&format!("{}\n.fi\n", roff(SOURCE)));
    for (title, command) in recipes() {
        page.push_str(&format!(".P\n{}:\n.IP\n.nf\n", roff(&title)));
        command.lines().for_each(|line| page.push_str(&format!("{}\n", roff(line))));
        page.push_str(".fi\n");
    }
    page.push_str(&part("outrider-log.5.end"));
    check("man/outrider-log.5", page.as_bytes());
}

#[test]
fn document_of_the_log() {
    let mut page = String::from(
        "# The log\n\nMade from the program, as `outrider-log(5)` is, which says more. The access log has one line of JSON for each request and each \
         tunnel.\nIn the journal it has an identifier of its own: `journalctl -t outrider-access -o cat`; the service log is `journalctl -t \
         outrider`.\n\n| key | in every line | what it says |\n|---|---|---|\n",
    );
    for field in access_log::FIELDS {
        page.push_str(&format!("| `{}` | {} | {} |\n", field.name, if field.always { "yes" } else { "" }, field.meaning));
    }
    page.push_str(&format!("\n## Recipes\n\nEach reads the log from standard input, and goes behind\n\n    {SOURCE}\n"));
    for (title, command) in recipes() {
        page.push_str(&format!("\n{title}:\n\n"));
        command.lines().for_each(|line| page.push_str(&format!("    {line}\n")));
    }
    check("docs/log.md", page.as_bytes());
}

#[test]
fn document_of_reasons() {
    let mut page = String::from(
        "# Why a request failed\n\nMade from the program. Every failure has a response flag and a reason: in the access log \
         (`response_flags`, `reason`),\nand the reason in the reply, its `Proxy-Status` field, and the status line of a refused CONNECT.\n\n\
         ## Response flags\n\nEnvoy's; they say whose fault it was.\n\n| flag | name | what to look at |\n|---|---|---|\n",
    );
    for (flag, name, remedy) in downstream::FLAGS {
        page.push_str(&format!("| {flag} | {name} | {remedy} |\n"));
    }
    page.push_str(
        "\n## Reasons\n\nThe status is that of the reply, where the client had got nothing yet.\n\n\
         | reason | flag | status | what the client is told, by an example |\n|---|---|---|---|\n",
    );
    for reason in downstream::REASONS.iter() {
        let status = reason.status.map_or_else(String::new, |status| status.to_string());
        page.push_str(&format!("| `{}` | {} | {status} | {} |\n", reason.name, reason.flag, reason.meaning.replace('|', "\\|")));
    }
    check("docs/reasons.md", page.as_bytes());
}

/// Where recipes read from.
const SOURCE: &str = "journalctl -t outrider-access -o cat --since today |";

/// Titles and commands.
fn recipes() -> Vec<(String, String)> {
    let text = part("recipes");
    let blocks = text.split("\n\n").filter_map(|block| block.strip_prefix("# ")?.split_once('\n'));
    blocks.map(|(title, command)| (title.to_owned(), command.trim_end().to_owned())).collect()
}

#[test]
fn recipes_run() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    if Command::new("jq").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "jq is not installed, and CI has to test with it");
        println!("NOT RUN: there is no jq");
        return;
    }
    const LOG: &str = r#"{"time":"2026-11-24T02:38:14.237Z","request_id":"462a6fa19a5c2766","listener":"default","worker":1,"client":"192.0.2.7:44130","method":"GET","target":"http://example.org/","version":"HTTP/1.1","status":200,"rule":"web","cluster":"example.org:80","endpoint":"93.184.215.14:80","reused":true,"bytes_received":5,"bytes_sent":1256,"first_byte_ms":10.361,"duration_ms":10.513}
{"time":"2026-11-24T02:38:15.237Z","request_id":"462a6fa19a5c2767","listener":"default","worker":1,"client":"[2001:db8::1]:44131","method":"CONNECT","target":"example.com:22","version":"HTTP/1.1","status":403,"response_flags":"UAEX","reason":"policy_denied","rule":"default","cluster":"example.com:22","reused":false,"bytes_received":0,"bytes_sent":0,"duration_ms":0.1}
{"time":"2026-11-24T02:38:16.237Z","request_id":"462a6fa19a5c2768","listener":"default","worker":0,"client":"192.0.2.7:44132","method":"GET","target":"http://slow.example/","version":"HTTP/1.1","status":200,"rule":"web","cluster":"slow.example:80","reused":false,"bytes_received":0,"bytes_sent":4,"first_byte_ms":900.5,"duration_ms":901.0}
"#;
    let expected = [
        "slow.example:80\t1\t900.5\t900.5\nexample.org:80\t1\t10.361\t10.361\n",
        "1\t[2001:db8::1]\texample.com:22\tpolicy_denied\tdefault\t\n",
        "192.0.2.7\t1260\t5\n[2001:db8::1]\t0\t0\n",
        "1\tUAEX\tpolicy_denied\texample.com:22\n",
        LOG.split_inclusive('\n').next().unwrap_or_default(),
    ];
    let recipes = recipes();
    assert_eq!(recipes.len(), expected.len());
    for ((title, command), expected) in recipes.iter().zip(expected) {
        let mut child =
            Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is a shell");
        child.stdin.take().expect("piped").write_all(LOG.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{title}");
    }
}

fn command() -> clap::Command {
    // What the environment of this test says must not show.
    let mut command = cli::command().version(env!("CARGO_PKG_VERSION")).long_version(env!("CARGO_PKG_VERSION"));
    command.build();
    command
}

/// Of the program and all of its commands.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()).map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

fn without_first_title(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter(|line| !line.starts_with(".SH")).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}
