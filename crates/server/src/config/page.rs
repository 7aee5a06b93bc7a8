//! The table of settings as text for people: docs/configuration.md, and the output of `concord config --print`. Called by the
//! command line and by a test that holds the page to the table.

use std::fmt::Write as _;

use super::{SETTINGS, Setting, Source};

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table in crates/server/src/config/settings.rs. To renew it: UPDATE_PAGES=1 cargo test -p server settings_page -->

Everything has a default that works on one machine: `concord` alone serves `ws://127.0.0.1:1234`.

A value is taken from the first of these that has one:

1. the command line (`concord --listen 127.0.0.1:4000`),
2. the environment (`CONCORD_LISTEN=127.0.0.1:4000`),
3. the file `concord.toml` in the current folder, or the one named by `--config FILE` or `CONCORD_CONFIG`,
4. the default.

Unknown keys, unknown variables that begin with `CONCORD_`, and values that are not allowed stop the start with a message that says
what is allowed. `concord config --print` shows what is in effect and where it comes from, as a valid `concord.toml`.

Sizes are written `16 MiB`, `64KiB` or in plain bytes. Times are plain numbers in the unit at the end of the key. Lists are arrays in the
file, and separated by commas in the environment.

```toml
listen = \"0.0.0.0:1234\"
durability = \"strict\"
keep_log = [\"legal/*=forever\", \"*=30d\"]

[auth]
anonymous = true

[limits]
room_bytes_max = \"128 MiB\"
```

Without authentication only loopback addresses are served, unless `auth.anonymous` says that everybody may enter.
";

/// The page docs/configuration.md.
pub fn settings_markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = None;
    for setting in SETTINGS {
        if section != Some(setting.section()) {
            section = Some(setting.section());
            let title = if setting.section().is_empty() { "General" } else { setting.section() };
            let _ = write!(page, "\n## {title}\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n");
        }
        let _ = writeln!(page, "{}", markdown_row(setting));
    }
    page.push_str(
        "\n## Names in the environment and on the command line\n\n| key | variable | option |\n|---|---|---|\n",
    );
    for setting in SETTINGS {
        let flag = setting.flag.map_or(String::new(), |flag| format!("`--{flag}`"));
        let _ = writeln!(page, "| `{}` | `{}` | {flag} |", setting.key, setting.environment());
    }
    page
}

fn markdown_row(setting: &Setting) -> String {
    let default = if setting.default.is_empty() { "(empty)".to_owned() } else { format!("`{}`", setting.default) };
    let allowed = setting.allowed().replace('*', "\\*").replace('|', "\\|");
    format!("| `{}` | {default} | {allowed} | {} |", setting.key, setting.doc.replace('|', "\\|"))
}

/// Each of `settings` with its effective value and source, in the same order.
pub(super) fn effective_toml(settings: &[Setting], effective: &[(String, Source)]) -> String {
    let mut text = String::new();
    let mut section = "";
    for (setting, (value, source)) in settings.iter().zip(effective) {
        if setting.section() != section {
            section = setting.section();
            let _ = write!(text, "\n[{section}]\n");
        }
        let name = setting.key.rsplit('.').next().unwrap_or(setting.key);
        let value = if setting.secret && value != "\"\"" { "\"***\"" } else { value };
        let _ = writeln!(text, "{name} = {value} # {source}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::value::Kind;
    use super::*;

    #[test]
    fn settings_page_equals_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("UPDATE_PAGES").is_some() {
            std::fs::write(path, settings_markdown()).expect("docs/configuration.md can be written");
        }
        let page = std::fs::read_to_string(path).expect("docs/configuration.md exists");
        assert!(page == settings_markdown(), "renew it: UPDATE_PAGES=1 cargo test -p server settings_page");
    }

    #[test]
    fn secrets_are_masked() {
        let setting = |key, secret| Setting {
            key,
            default: "",
            doc: "",
            flag: None,
            value_name: "",
            secret,
            kind: Kind::Text { allowed: "", set: |_, _| Some(()) },
        };
        let settings = [setting("open", false), setting("auth.secret", true)];
        let values = [("\"visible\"".to_owned(), Source::Default), ("\"hidden\"".to_owned(), Source::Default)];
        let printed = effective_toml(&settings, &values);
        assert_eq!(printed, "open = \"visible\" # default\n\n[auth]\nsecret = \"***\" # default\n");
    }
}
