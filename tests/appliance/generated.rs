//! Man pages and completions are made from the command line's grammar and the packaged configuration. They are kept in
//! the tree, so that packages need no extra step; `UPDATE=1 cargo test --test appliance` makes them anew.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use outrider::{cli, config};

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
    page.push_str(".fi\n.SH SEE ALSO\n.BR outrider (8),\n.BR outrider\\-policy (5)\n");
    check("man/outrider.toml.5", page.as_bytes());
}

fn command() -> clap::Command {
    // What the environment of this test says must not show.
    let mut command = cli::command().version(env!("CARGO_PKG_VERSION")).long_version(env!("CARGO_PKG_VERSION"));
    command.build();
    command
}

fn without_first_title(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter(|line| !line.starts_with(".SH")).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    if escaped.starts_with('.') { format!("\\&{escaped}") } else { escaped }
}
