// SPDX-License-Identifier: Apache-2.0
//! The section `workloads.runtimes`: owns its key, default and range.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::path::{Path, PathBuf};

/// Section `workloads.runtimes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimesConfig {
    /// Where the host's root folder is: `/`, or where a container has it mounted (`/host`). The runtimes' folders
    /// (`var/lib/docker`, `run/containerd`, ..) are looked for below it.
    #[serde(deserialize_with = "absolute")]
    pub host: PathBuf,
}

impl Default for RuntimesConfig {
    fn default() -> Self {
        Self {
            host: PathBuf::from("/"),
        }
    }
}

fn absolute<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if Path::is_absolute(&path) {
        return Ok(path);
    }
    Err(D::Error::custom(format_args!(
        "{:?} is no absolute path: give the folder that the host's root is mounted on, as in \"/\" or \"/host\"",
        path.display().to_string()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_absolute_and_nothing_else_is_known() {
        let read = serde_json::from_str::<RuntimesConfig>;
        assert_eq!(read("{}").unwrap(), RuntimesConfig::default());
        assert_eq!(read(r#"{"host":"/host"}"#).unwrap().host, Path::new("/host"));
        let error = read(r#"{"host":"host"}"#).unwrap_err().to_string();
        assert!(
            error.contains("\"host\" is no absolute path") && error.contains("/host"),
            "{error}"
        );
        assert!(read(r#"{"root":"/"}"#).is_err());
    }
}
