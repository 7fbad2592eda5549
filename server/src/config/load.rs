//! From the file's text and the variables to settings that have been checked.

use std::path::Path;

use super::{Config, ConfigError, environment};

impl Config {
    /// Reads the file (which may be absent only if it is not `required`) and the given environment.
    pub fn load(
        path: &Path,
        required: bool,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => {
                String::new()
            }
            Err(source) => {
                let path = path.to_owned();
                return Err(ConfigError::Read { path, source });
            }
        };
        Self::from_parts(path, &text, variables)
    }

    /// `path` is only named in errors.
    pub fn from_parts(
        path: &Path,
        text: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let in_file = |error: toml::de::Error| ConfigError::File {
            path: path.to_owned(),
            message: error.to_string(),
        };
        // Checked by itself first, so that an error names the file and the line.
        toml::from_str::<Self>(text).map_err(in_file)?;
        let mut table: toml::Table = toml::from_str(text).map_err(in_file)?;
        environment::apply(&mut table, variables)?;
        let config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Value(error.to_string()))?;
        config.check()?;
        Ok(config)
    }
}
