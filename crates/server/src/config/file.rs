//! `concord.toml` as a list of values with their lines. Called while a configuration is put together. Does not check values; a
//! key that no setting has is an error here, because it is most likely a typing error in one.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::SETTINGS;
use super::loaded::{ConfigError, Given, Source};
use super::value::Raw;

/// The values in `text`, which is the content of the file at `path`.
pub(super) fn read(path: &str, text: &str) -> Result<Vec<Given>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        // Not the error's own display form: that quotes the line, which may hold a secret.
        message: error.message().to_owned(),
    })?;
    let mut values = Vec::new();
    Reader { path, text, values: &mut values }.read_table("", table.get_ref())?;
    Ok(values)
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    values: &'a mut Vec<Given>,
}

impl Reader<'_> {
    /// Goes no deeper than the names of settings do: any other table is an error.
    fn read_table(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let source = Source::File { path: self.path.to_owned(), line: line_of(self.text, name.span().start) };
            let below = format!("{key}.");
            match value.get_ref() {
                DeValue::Table(inner) if SETTINGS.iter().any(|setting| setting.key.starts_with(&below)) => {
                    self.read_table(&below, inner)?;
                }
                _ => self.read_value(&key, value, source)?,
            }
        }
        Ok(())
    }

    fn read_value(&mut self, key: &str, value: &Spanned<DeValue<'_>>, source: Source) -> Result<(), ConfigError> {
        // A section below a setting: name what is written in it.
        if let (DeValue::Table(inner), true) = (value.get_ref(), SETTINGS.iter().any(|setting| setting.key == key))
            && let Some((name, _)) = inner.iter().next()
        {
            return Err(unknown(&format!("{key}.{}", name.get_ref()), source));
        }
        let setting = SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| unknown(key, source.clone()))?;
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Raw::Bare(number.to_string()),
                Err(_) => Raw::Bare(integer.to_string()),
            },
            DeValue::Array(items) => {
                let strings: Option<Vec<String>> =
                    items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
                strings.map_or_else(|| Raw::Bare(self.text[value.span()].to_owned()), Raw::List)
            }
            _ => Raw::Bare(self.text[value.span()].to_owned()),
        };
        self.values.push(Given { setting, raw, source });
        Ok(())
    }
}

/// Says which keys there are: those of the same section if there is such a section, else all that have none, and the sections.
fn unknown(key: &str, source_of: Source) -> ConfigError {
    let section = key.rsplit_once('.').map_or("", |(section, _)| section);
    let mut names: Vec<&str> = SETTINGS.iter().filter(|row| row.section() == section).map(|row| row.key).collect();
    if names.is_empty() || section.is_empty() {
        names = SETTINGS.iter().map(|row| if row.section().is_empty() { row.key } else { row.section() }).collect();
        names.dedup();
    }
    ConfigError::UnknownKey { key: key.to_owned(), source_of, known: format!("known are {}", names.join(", ")) }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
