// SPDX-License-Identifier: Apache-2.0
//! A stand-in for NVIDIA's library, compiled from `nvml-stand-in/nvml.c`, whose GPUs a test moves by a script.

use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The stand-in and its script, in a folder of their own.
pub struct Gpus {
    dir: TempDir,
}

impl Gpus {
    /// Compiles it, with this as the first script; the words are in the head of the C file.
    ///
    /// # Panics
    /// When there is no C compiler.
    #[must_use]
    pub fn new(script: &str) -> Self {
        let dir = TempDir::new().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("nvml-stand-in/nvml.c");
        let library = dir.path().join("libnvidia-ml.so.1");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .expect("cc, which `make setup-build` installs");
        assert!(done.success(), "the stand-in does not compile");
        let gpus = Self { dir };
        gpus.script(script);
        gpus
    }

    /// From now on they are so.
    ///
    /// # Panics
    /// When the script cannot be written.
    pub fn script(&self, text: &str) {
        let (new, place) = (self.dir.path().join("new"), self.dir.path().join("script"));
        fs::write(&new, text).expect("a file");
        fs::rename(new, place).expect("a rename");
    }

    /// Settings by which a daemon finds them, beside `sources.gpu=nvml`.
    #[must_use]
    pub fn settings(&self) -> [String; 2] {
        let library = self.dir.path().join("libnvidia-ml.so.1");
        [
            format!("sources.nvml.library={}", library.display()),
            format!("sources.nvml.root={}", self.dir.path().join("gpus").display()),
        ]
    }
}
