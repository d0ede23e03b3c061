// SPDX-License-Identifier: Apache-2.0
//! The section `[vm_passthrough]`: owns its keys and what they may be.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// The section `[vm_passthrough]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassthroughConfig {
    /// The folder with one folder for each virtual machine. Default: none, nothing is written.
    pub dir: PassthroughDir,
    /// Whether guests are fed with figures of a model, too. Default: no, a zone without a meter is left out.
    pub estimates: bool,
}

/// An absolute path, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PassthroughDir(pub PathBuf);

impl<'de> Deserialize<'de> for PassthroughDir {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str =
            "no folder for guests, expected an absolute path such as \"/run/kepler-vms\", or \"\" for none";
        let path = PathBuf::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))?;
        match path.is_absolute() || path.as_os_str().is_empty() {
            true => Ok(Self(path)),
            false => Err(D::Error::custom(ALLOWED)),
        }
    }
}

impl PassthroughConfig {
    /// The folder, where one is asked for.
    #[must_use]
    pub fn wanted(&self) -> Option<PathBuf> {
        let dir = &self.dir.0;
        (!dir.as_os_str().is_empty()).then(|| dir.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_off_until_an_absolute_folder_is_named() {
        assert_eq!(PassthroughConfig::default().wanted(), None);
        let read = |dir| serde_json::from_value::<PassthroughConfig>(json!({ "dir": dir }));
        assert_eq!(read(json!("")).unwrap().wanted(), None);
        let named = read(json!("/run/kepler-vms")).unwrap();
        assert_eq!(named.wanted(), Some(PathBuf::from("/run/kepler-vms")));
        assert!(!named.estimates);
        for wrong in [json!("kepler-vms"), json!("./x"), json!(1), json!(null)] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("absolute path"), "{error}");
        }
    }
}
