// SPDX-License-Identifier: Apache-2.0
//! A terminal that a test sits at: tmux, on a server of its own that ends with this value.

use crate::daemon::{PATIENCE, pause};
use crate::{has_command, skip};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Whether there is tmux. Says aloud that it is missing.
#[must_use]
pub fn is_here() -> bool {
    let here = has_command("tmux");
    if !here {
        skip("needs tmux (deploy/install-packages.sh test)");
    }
    here
}

/// See the module's head.
pub struct Tmux {
    server: String,
}

impl Tmux {
    /// A terminal of this size with a shell in it, and these variables in its environment.
    ///
    /// # Panics
    /// When tmux does not start.
    #[must_use]
    pub fn start(columns: u16, rows: u16, environment: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let terminal = Self {
            server: format!("kepler-{}-{number}", std::process::id()),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut arguments = vec![
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
        ];
        let pairs: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        for pair in &pairs {
            arguments.extend(["-e", pair]);
        }
        arguments.push("exec sh");
        terminal.tmux(&arguments);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux")
            .args(["-u", "-L", &self.server])
            .args(arguments)
            // Names that are wide are wide here, whatever the machine speaks.
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .expect("tmux runs");
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Types this text.
    pub fn type_text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys, as tmux calls them: `Enter`, `Escape`, `C-c`.
    pub fn press(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        self.tmux(&arguments);
    }

    /// Makes the terminal this large.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// What is to be seen.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// The same with what gives it colour.
    #[must_use]
    pub fn screen_with_colour(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p", "-e"]).stdout).into_owned()
    }

    /// What tmux knows of the terminal, as in `#{alternate_on}`.
    #[must_use]
    pub fn ask(&self, format: &str) -> String {
        let said = self.tmux(&["display-message", "-p", format]).stdout;
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// The pid of what the shell in it runs.
    #[must_use]
    pub fn running(&self) -> Option<i32> {
        let shell = self.ask("#{pane_pid}");
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Waits until the screen is as wanted, and gives it.
    ///
    /// # Panics
    /// When it never is; the message has the last screen.
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "never: {what}; the screen:\n{screen}");
            pause();
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        drop(
            Command::new("tmux")
                .args(["-L", &self.server, "kill-server"])
                .output(),
        );
    }
}
