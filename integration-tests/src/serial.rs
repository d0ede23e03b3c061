// SPDX-License-Identifier: Apache-2.0
//! What a guest said on its second serial line: owns the protocol of guest/init and guest/meters/init.
//!
//! Pure: text in, sections out. `@kernel RELEASE`, then sections from `@begin TITLE` to `@end EXIT UPTIME UPTIME`, then
//! `@done`.

/// One guest's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Of the kernel.
    pub release: String,
    /// In the order in which they began.
    pub sections: Vec<Section>,
    /// Whether it came to its end.
    pub done: bool,
}

/// One command's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// What it is about.
    pub title: String,
    /// What it wrote.
    pub lines: Vec<String>,
    /// `None`: the guest stopped in it.
    pub exit: Option<u32>,
}

impl Log {
    /// Out of what it wrote.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut log = Self::default();
        let mut open = false;
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            if let Some(release) = line.strip_prefix("@kernel ") {
                release.clone_into(&mut log.release);
            } else if let Some(title) = line.strip_prefix("@begin ") {
                log.sections.push(Section {
                    title: title.to_owned(),
                    ..Section::default()
                });
                open = true;
            } else if let Some(end) = line.strip_prefix("@end ") {
                let exit = end.split(' ').next().and_then(|exit| exit.parse().ok());
                if let Some(section) = log.sections.last_mut() {
                    section.exit = exit;
                }
                open = false;
            } else if line == "@done" {
                log.done = true;
            } else if let Some(section) = log.sections.last_mut().filter(|_| open) {
                section.lines.push(line.to_owned());
            }
        }
        log
    }

    /// The last section of that title.
    #[must_use]
    pub fn section(&self, title: &str) -> Option<&Section> {
        self.sections.iter().rfind(|section| section.title == title)
    }
}
