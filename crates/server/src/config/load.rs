//! Reading the configuration: default, then file, then environment, then flags. What is not
//! understood is refused, with the key and what a right value looks like; nothing is guessed or
//! ignored.

use std::path::{Path, PathBuf};

use super::{
    Config,
    keys::{KEYS, Key},
    roles,
};

/// Variables with this prefix must name a key.
const PREFIX: &str = "ANSER_";
/// How similar a known name must be (Jaro-Winkler) to be suggested.
const SIMILAR: f64 = 0.75;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The file.
    File(PathBuf),
    /// The environment variable.
    Environment(String),
    /// The command line.
    Flag(&'static str),
}

/// One value and where it came from.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `section.name`.
    pub key: String,
    /// The text that was given, or the default's; passwords and keys are left out.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// The configuration can not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can not be read.
    #[error("{path} can not be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{path}: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key does not exist.
    #[error("{origin}: there is no key \"{key}\"{suggestion}")]
    Unknown {
        /// Where it was named.
        origin: String,
        /// The key.
        key: String,
        /// What was perhaps meant.
        suggestion: String,
    },
    /// A value is not right.
    #[error("{origin}: {key} {why}")]
    Value {
        /// Where it was given.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Collects values until all are known.
#[derive(Debug)]
pub struct Loader {
    config: Config,
    settings: Vec<Setting>,
}

impl Default for Loader {
    fn default() -> Self {
        let setting = |key: &Key| Setting {
            key: key.path(),
            value: key.default.trim_matches('"').to_owned(),
            source: Source::Default,
        };
        Self { config: Config::default(), settings: KEYS.iter().map(setting).collect() }
    }
}

impl Loader {
    /// Takes what a file says.
    ///
    /// # Errors
    /// It can not be read, is no TOML, or names something that is not understood.
    pub fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        self.text(&text, path)
    }

    /// Takes what the text of a file says.
    ///
    /// # Errors
    /// It is no TOML, or names something that is not understood.
    pub fn text(&mut self, text: &str, path: &Path) -> Result<(), LoadError> {
        let syntax = |source| LoadError::Syntax { path: path.to_owned(), source: Box::new(source) };
        let table: toml::Table = text.parse().map_err(syntax)?;
        let origin = path.display().to_string();
        for (section, values) in table {
            let toml::Value::Table(values) = values else {
                return Err(unknown(&origin, &section));
            };
            if !KEYS.iter().any(|key| key.section == section) {
                return Err(unknown(&origin, &format!("{section}.")));
            }
            for (name, value) in values {
                let source = Source::File(path.to_owned());
                self.set(&format!("{section}.{name}"), &plain(&value), source)?;
            }
        }
        Ok(())
    }

    /// Takes what variables say. Those of other programs are left alone.
    ///
    /// # Errors
    /// One with Anser's prefix and a section names something that is not understood.
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), LoadError> {
        for (name, value) in variables {
            let Some((section, key)) =
                name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__"))
            else {
                one_underscore(&name)?;
                continue;
            };
            let path = format!("{section}.{key}").to_lowercase();
            self.set(&path, &value, Source::Environment(name))?;
        }
        Ok(())
    }

    /// Takes a flag of the command line, where it was given.
    ///
    /// # Errors
    /// The value is not right.
    pub fn flag(
        &mut self,
        flag: &'static str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), LoadError> {
        value.map_or(Ok(()), |value| self.set(key, value, Source::Flag(flag)))
    }

    /// All values and where they came from.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The configuration for a command that serves nothing: whether a server could start with it
    /// is not asked.
    pub fn finish_unserved(self) -> Config {
        self.config
    }

    /// The configuration.
    ///
    /// # Errors
    /// The values do not fit together.
    pub fn finish(self) -> Result<Config, LoadError> {
        let config = self.config;
        if let Some((key, why)) = roles::missing(&config) {
            let (origin, key, why) = ("configuration".into(), key.into(), why.into());
            return Err(LoadError::Value { origin, key, why });
        }
        let listens = [
            ("connector.listen", config.connector.listen),
            ("api.listen", config.api.listen),
            ("ops.listen", config.ops.listen),
            ("link.listen", config.link.listen),
        ];
        for (key, address) in listens {
            let over_tls = key == "link.listen" && config.link.tls_cert.is_some();
            if !address.ip().is_loopback() && !config.node.insecure_public && !over_tls {
                let why = format!(
                    "= {address} can be reached by other machines, without TLS; put a TLS proxy in front \
                     and listen on 127.0.0.1, or set node.insecure_public = true"
                );
                return Err(LoadError::Value {
                    origin: "configuration".into(),
                    key: key.into(),
                    why,
                });
            }
        }
        if config.node.roles.api {
            config.files.check(&config.store).map_err(|(key, why)| LoadError::Value {
                origin: "configuration".into(),
                key: key.into(),
                why: why.into(),
            })?;
        }
        Ok(config)
    }

    fn set(&mut self, path: &str, value: &str, source: Source) -> Result<(), LoadError> {
        let origin = source.to_string();
        let index = KEYS.iter().position(|key| key.path() == path);
        let index = index.ok_or_else(|| unknown(&origin, path))?;
        let key = &KEYS[index];
        (key.set)(&mut self.config, value).map_err(|why| LoadError::Value {
            origin,
            key: key.path(),
            why,
        })?;
        let hides = key.is_secret() && !value.is_empty();
        let value = if hides { "…".into() } else { without_password(value) };
        self.settings[index] = Setting { key: key.path(), value, source };
        Ok(())
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A text as it may be shown: the password of a URL is replaced.
pub(super) fn without_password(text: &str) -> String {
    let parts = text.split_once("://").and_then(|(scheme, rest)| {
        let (login, place) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{place}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

/// A variable that is a key's but for the second underscore would be ignored in silence.
fn one_underscore(name: &str) -> Result<(), LoadError> {
    let mut variables = KEYS.iter().map(Key::variable);
    variables.find(|variable| variable.replace("__", "_") == name).map_or(Ok(()), |variable| {
        let suggestion = format!("; did you mean {variable}, with two underscores?");
        Err(LoadError::Unknown { origin: "the environment".into(), key: name.into(), suggestion })
    })
}

/// The process's environment, for [`Loader::environment`].
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The whole configuration as a file of comments: every key with its meaning and default.
pub fn default_text() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Anser's configuration. A line without its leading \"# \" sets a value; all lines show the\n\
         # defaults. A variable of the environment wins over this file, a flag over both.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            let _ = write!(text, "\n[{section}]\n");
        }
        text.push('\n');
        for line in key.doc.lines() {
            let _ = writeln!(text, "## {line}");
        }
        let _ = writeln!(text, "## Variable: {}", key.variable());
        let _ = writeln!(text, "# {} = {}", key.name, key.default);
    }
    text
}

/// A value of a file as the text that a variable would hold.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn unknown(origin: &str, key: &str) -> LoadError {
    let similarity = |known: &String| strsim::jaro_winkler(key, known);
    let paths = KEYS.iter().map(Key::path);
    let best = paths.max_by(|one, other| similarity(one).total_cmp(&similarity(other)));
    let best = best.filter(|known| similarity(known) > SIMILAR);
    let suggestion = best.map_or_else(
        || "; `anser config default` lists all".to_owned(),
        |known| format!("; did you mean \"{known}\"?"),
    );
    LoadError::Unknown { origin: origin.into(), key: key.trim_end_matches('.').into(), suggestion }
}
