// SPDX-License-Identifier: Apache-2.0
//! What libvirt writes about a running domain: `/run/libvirt/qemu/NAME.xml`, readable for root.
//!
//! libvirt writes it before the machine's process executes QEMU, and replaces it by a rename. Its format is libvirt's
//! own, so nothing is taken from it but what the public domain format fixes, and only where it names the same machine
//! as the process does. The reader of XML is ours because so little is wanted: it knows elements, text, references and the
//! attributes of one element, passes over what it does not know, and believes no document that is long or deep.

use super::command::{name, uuid};
use super::size::{Size, libvirt_size, number};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest file read. A domain with hundreds of devices has some 200 KiB.
const LIMIT: u64 = 2 * 1_024 * 1_024;

/// Elements inside each other; libvirt's are nine deep.
const DEPTH: usize = 64;

/// Longest reference with its `;`: `#x10ffff;` and its like, with some zeros before it.
const LONGEST_REFERENCE: usize = 16;

/// A running domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Domain {
    /// The pid of its process, on the host.
    pub(super) pid: Option<u32>,
    /// Its UUID in lower case.
    pub(super) uuid: Option<String>,
    /// libvirt's name of it.
    pub(super) name: Option<String>,
    /// OpenStack's name of the server: `<nova:instance><nova:name>` in the metadata.
    pub(super) server: Option<String>,
    /// Virtual CPUs that are online, and memory that it has (`<currentMemory>`, else `<memory>`).
    pub(super) vcpus: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) most_memory: Option<u64>,
}

/// libvirt's run-time state.
#[derive(Debug)]
pub(super) struct State {
    root: PathBuf,
}

impl State {
    /// That below `root` (`/run/libvirt`).
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The domain called `name` of the driver for `hypervisor`; `None` where libvirt has none, or we may not read it.
    pub(super) fn domain(&self, hypervisor: &str, name: &str) -> Option<Domain> {
        let driver = match hypervisor {
            "qemu" => "qemu",
            "cloud-hypervisor" => "ch",
            "xen" => "libxl",
            _ => return None,
        };
        // libvirt allows no slash in a name, so one that comes from a command line leads nowhere else.
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let file = File::open(self.root.join(driver).join(format!("{name}.xml"))).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = Vec::new();
        file.take(LIMIT).read_to_end(&mut text).ok()?;
        parse(&text)
    }
}

/// The first domain in the document; `None` where there is none.
pub(super) fn parse(xml: &[u8]) -> Option<Domain> {
    let xml = String::from_utf8_lossy(xml);
    let mut domain = Domain::default();
    let mut path: Vec<&str> = Vec::new();
    let mut rest: &str = &xml;
    let mut inside = false;
    let mut opened = "";
    while let Some((text, after)) = rest.split_once('<') {
        if inside {
            domain.note(&path, text);
            domain.note_size(&path, opened, text);
        }
        let (tag, after) = markup(after)?;
        rest = after;
        let Some(tag) = tag else { continue };
        opened = "";
        if let Some(closed) = tag.strip_prefix('/') {
            let open = path.pop()?;
            if open != closed.trim_end() {
                return None;
            }
            if open == "domain" && inside {
                return Some(domain);
            }
            continue;
        }
        let (element, attributes) = tag
            .split_once(|char: char| char.is_ascii_whitespace())
            .unwrap_or((tag, ""));
        if element == "domstatus" && path.is_empty() {
            domain.pid = attribute(attributes, "pid").and_then(|pid| pid.parse().ok());
        }
        if tag.ends_with('/') {
            continue;
        }
        inside = inside || element == "domain";
        path.push(element);
        opened = attributes;
        if path.len() > DEPTH {
            return None;
        }
    }
    // Cut off, but perhaps behind all that is wanted.
    inside.then_some(domain)
}

impl Domain {
    /// How large it is.
    pub(super) fn size(&self) -> Size {
        Size::new(self.vcpus, self.memory.or(self.most_memory))
    }

    /// Takes text that ended inside `path`, whose last element has these attributes and no element in it so far.
    fn note_size(&mut self, path: &[&str], attributes: &str, text: &str) {
        let (["domstatus", "domain", element] | ["domain", element]) = path else {
            return;
        };
        let bytes = || libvirt_size(text, attribute(attributes, "unit"));
        match *element {
            "vcpu" if self.vcpus.is_none() => {
                let current = attribute(attributes, "current");
                self.vcpus = number(current.unwrap_or(text).trim().as_bytes());
            }
            "currentMemory" if self.memory.is_none() => self.memory = bytes(),
            "memory" if self.most_memory.is_none() => self.most_memory = bytes(),
            _ => {}
        }
    }

    /// Takes text that ended inside `path`.
    fn note(&mut self, path: &[&str], text: &str) {
        let at = path.iter().position(|element| *element == "domain");
        let below = at.and_then(|at| path.get(at + 1..)).unwrap_or_default();
        let field = match below {
            ["name"] => &mut self.name,
            ["uuid"] => &mut self.uuid,
            // Whatever prefix the document binds to Nova's namespace.
            ["metadata", instance, server]
                if instance.ends_with(":instance") && server.ends_with(":name") =>
            {
                &mut self.server
            }
            _ => return,
        };
        if field.is_some() {
            return;
        }
        let text = resolve(text);
        *field = if below == ["uuid"] {
            uuid(text.trim().as_bytes())
        } else {
            name(text.as_bytes())
        };
    }
}

/// The tag behind a `<` and what follows it. The tag is `None` for what holds no element: a comment, a declaration.
fn markup(text: &str) -> Option<(Option<&str>, &str)> {
    for (open, close) in [("!--", "-->"), ("![CDATA[", "]]>"), ("?", "?>"), ("!", ">")] {
        if let Some(inner) = text.strip_prefix(open) {
            return inner.split_once(close).map(|(_, after)| (None, after));
        }
    }
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some((Some(text.get(..at)?), text.get(at + 1..)?)),
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The value of an attribute.
fn attribute<'a>(attributes: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = attributes;
    while let Some((key, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let quote = after.chars().next().filter(|char| matches!(char, '\'' | '"'))?;
        let (value, after) = after.get(1..)?.split_once(quote)?;
        if key.trim() == wanted {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// Text with its references resolved; those that XML does not define by itself stay as they are.
fn resolve(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let reference = reference(after).and_then(|(name, after)| Some((character(name)?, after)));
        match reference {
            Some((char, after)) => {
                out.push(char);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The name of a reference and what follows it. Looked for near by: else a text of nothing but `&` would be read as often as it
/// has bytes.
fn reference(after: &str) -> Option<(&str, &str)> {
    let end = after
        .bytes()
        .take(LONGEST_REFERENCE)
        .position(|byte| byte == b';')?;
    Some((after.get(..end)?, after.get(end + 1..)?))
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = reference.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}
