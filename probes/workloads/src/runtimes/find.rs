// SPDX-License-Identifier: Apache-2.0
//! Where each runtime keeps what it knows about a container, and one look at it. Keeps nothing from one round to the next:
//! files are small, and lists are read once in a round at most.

use super::facts::Facts;
use super::host::{Content, LONGEST, LONGEST_LIST, View};
use super::oci::{self, Bundle};
use super::{docker, podman};
use crate::cgroup::container_root;
use attribution::model::{CgroupOwner, ContainerId};
use foldhash::{HashMap, HashMapExt as _};
use serde::Deserialize;
use std::cell::{Cell, OnceCell, RefCell};
use std::path::Path;

/// Docker's data root: the default, and that of its snap.
const DOCKER: [&str; 2] = ["var/lib/docker", "var/snap/docker/common/var-lib-docker"];
/// containerd's state of running tasks: the default, k3s and RKE2, MicroK8s, k0s.
const CONTAINERD: [&str; 4] = [
    "run/containerd/io.containerd.runtime.v2.task",
    "run/k3s/containerd/io.containerd.runtime.v2.task",
    "var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
    "run/k0s/containerd/io.containerd.runtime.v2.task",
];
/// Storage of podman and CRI-O, and where they keep what need not outlive a boot.
const STORAGE: [&str; 2] = ["var/lib/containers/storage", "run/containers/storage"];
/// Below the home of a user.
const USERS_STORAGE: &str = ".local/share/containers/storage";
const USERS_DOCKER: &str = ".local/share/docker";
/// Drivers of containers/storage that name its folders.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];

/// One look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Named(Facts),
    /// The runtime keeps its state here and does not know the container, yet.
    NotYet,
    /// There is no such runtime here, its files are closed to us, or it has no name for the container.
    Unknown,
}

/// The first name, or else whether one may come.
fn best(answers: impl IntoIterator<Item = Answer>) -> Answer {
    let mut best = Answer::Unknown;
    for answer in answers {
        match answer {
            Answer::Named(_) => return answer,
            Answer::NotYet => best = Answer::NotYet,
            Answer::Unknown => {}
        }
    }
    best
}

fn named(name: &str) -> Answer {
    Facts::new(Some(name), None).map_or(Answer::Unknown, Answer::Named)
}

/// One round of looking.
pub(super) struct Round<'a> {
    host: View,
    /// Docker's data root as its configuration has it.
    docker_root: Option<&'a str>,
    /// Homes by user id, read when the first container of a user is looked for.
    homes: OnceCell<HashMap<u32, String>>,
    /// Lists by storage and path, read once.
    lists: RefCell<HashMap<String, HashMap<String, Facts>>>,
    /// Bytes that may still be read in this round.
    bytes_left: Cell<u64>,
}

impl<'a> Round<'a> {
    /// `None` when the host's root is not there.
    pub(super) fn new(root: &Path, docker_root: Option<&'a str>, bytes_left: u64) -> Option<Self> {
        Some(Self {
            host: View::of(root)?,
            docker_root,
            homes: OnceCell::new(),
            lists: RefCell::default(),
            bytes_left: Cell::new(bytes_left),
        })
    }

    /// Whether this round has read enough.
    pub(super) const fn is_over(&self) -> bool {
        self.bytes_left.get() == 0
    }

    /// Looks for the container of `owner`.
    pub(super) fn find(&self, owner: &CgroupOwner) -> Answer {
        let Some(id) = owner.container.as_ref().map(ContainerId::as_str) else {
            return Answer::Unknown;
        };
        // The path gives ids of letters, digits and `_.-+` that begin with no dot; this is what keeps that true.
        if id.starts_with('.') || id.contains('/') {
            return Answer::Unknown;
        }
        match owner.runtime {
            "docker" => self.docker(id, owner),
            "containerd" => self.containerd(id, owner),
            "cri-o" => self.crio(id),
            "podman" => self.podman(id, owner),
            // Kubelet's cgroupfs driver does not say whose the container is, nor does a bare id.
            "" => match best([self.containerd(id, owner), self.crio(id)]) {
                Answer::Named(facts) => Answer::Named(facts),
                other => best([self.docker(id, owner), other]),
            },
            // The allocation is not in the name that people gave the task.
            "nomad" => named(id.split_once('.').map_or(id, |(_, task)| task)),
            // LXC, systemd-nspawn, Slurm and others: what the path calls it is its name.
            _ => named(id),
        }
    }

    fn docker(&self, id: &str, owner: &CgroupOwner) -> Answer {
        let look = |view: &View, root: &str| {
            let folder = format!("{root}/containers");
            let path = format!("{folder}/{id}/config.v2.json");
            self.read(view, &folder, (&path, LONGEST), |bytes| {
                docker::parse(bytes, owner.pod.is_some()).map_or(Answer::NotYet, Answer::Named)
            })
        };
        let of_user = self.home_of(owner).map(|(_, home)| look(&home, USERS_DOCKER));
        let roots = self.docker_root.into_iter().chain(DOCKER);
        best(of_user.into_iter().chain(roots.flat_map(|root| {
            let remapped = std::iter::once(()).flat_map(move |()| self.remapped(root));
            let roots = std::iter::once(root.to_owned()).chain(remapped);
            roots.map(|root| look(&self.host, &root))
        })))
    }

    /// Docker's roots for other users (`userns-remap`): `231072.231072`, by the first ids that they have.
    fn remapped(&self, root: &str) -> Vec<String> {
        let is_id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let mut names = self.host.names(root);
        names.retain(|name| {
            name.split_once('.')
                .is_some_and(|(user, group)| is_id(user) && is_id(group))
        });
        names.iter().map(|name| format!("{root}/{name}")).collect()
    }

    fn containerd(&self, id: &str, owner: &CgroupOwner) -> Answer {
        // Under its default cgroup the namespace is in the path; elsewhere it is Kubernetes', if it is there.
        let above = owner.path.trim_start_matches(['/', '.']).split('/').next();
        best(CONTAINERD.into_iter().map(|root| {
            let mut namespaces = self.host.names(root);
            namespaces.sort_by_key(|name| (Some(name.as_str()) != above, name != "k8s.io"));
            best(namespaces.iter().map(|namespace| {
                let path = format!("{root}/{namespace}/{id}/config.json");
                self.read(&self.host, root, (&path, LONGEST), |bytes| in_bundle(bytes, id))
            }))
        }))
    }

    fn crio(&self, id: &str) -> Answer {
        let folders = STORAGE.into_iter().flat_map(containers_folders);
        best(folders.map(|folder| {
            let path = format!("{folder}/{id}/userdata/config.json");
            self.read(&self.host, &folder, (&path, LONGEST), |bytes| {
                in_bundle(bytes, id)
            })
        }))
    }

    fn podman(&self, id: &str, owner: &CgroupOwner) -> Answer {
        let of_user = self
            .home_of(owner)
            .map(|(uid, home)| self.listed(&home, Some(uid), USERS_STORAGE, id));
        let roots = STORAGE
            .into_iter()
            .map(|root| self.listed(&self.host, None, root, id));
        best(of_user.into_iter().chain(roots))
    }

    /// Looks through the lists of one storage.
    fn listed(&self, view: &View, uid: Option<u32>, storage: &str, id: &str) -> Answer {
        let files = containers_folders(storage).flat_map(|folder| {
            ["containers.json", "volatile-containers.json"]
                .map(|file| (folder.clone(), format!("{folder}/{file}")))
        });
        best(files.map(|(folder, path)| {
            let key = format!("{uid:?} {path}");
            if let Some(list) = self.lists.borrow().get(&key) {
                return in_list(list, id);
            }
            self.read(view, &folder, (&path, LONGEST_LIST), |bytes| {
                let Some(list) = podman::parse(bytes) else {
                    return Answer::NotYet;
                };
                let answer = in_list(&list, id);
                self.lists.borrow_mut().insert(key, list);
                answer
            })
        }))
    }

    /// Reads `path` up to a length; it is in `folder` of a runtime's state.
    fn read(
        &self,
        view: &View,
        folder: &str,
        (path, longest): (&str, u64),
        parse: impl FnOnce(&[u8]) -> Answer,
    ) -> Answer {
        match view.read(path, longest) {
            Content::Bytes(bytes) => {
                let length = u64::try_from(bytes.len()).unwrap_or(LONGEST);
                self.bytes_left.set(self.bytes_left.get().saturating_sub(length));
                parse(&bytes)
            }
            Content::Missing if view.has(folder) => Answer::NotYet,
            Content::Missing | Content::Refused => Answer::Unknown,
        }
    }

    /// The home of the user whose session or manager runs the container, with his id. Users that no local file knows
    /// (LDAP) have none here.
    fn home_of(&self, owner: &CgroupOwner) -> Option<(u32, View)> {
        let uid = user_of(&owner.path)?;
        let homes = self
            .homes
            .get_or_init(|| match self.host.read("etc/passwd", LONGEST) {
                Content::Bytes(bytes) => homes_in(&bytes),
                Content::Missing | Content::Refused => HashMap::new(),
            });
        Some((uid, self.host.home(homes.get(&uid)?)?))
    }
}

fn containers_folders(storage: &str) -> impl Iterator<Item = String> {
    DRIVERS
        .into_iter()
        .map(move |driver| format!("{storage}/{driver}-containers"))
}

fn in_bundle(bytes: &[u8], id: &str) -> Answer {
    match oci::parse(bytes) {
        Bundle::Named(facts) => Answer::Named(facts),
        // `ctr run IMAGE web`: the id is what its maker called it. 64 digits are no name.
        Bundle::Nameless if id.len() < 64 => named(id),
        Bundle::Nameless => Answer::Unknown,
        Bundle::Torn => Answer::NotYet,
    }
}

fn in_list(list: &HashMap<String, Facts>, id: &str) -> Answer {
    list.get(id).cloned().map_or(Answer::NotYet, Answer::Named)
}

/// The user in whose slice a container is (`user-1000.slice`, systemd-logind); root's things are the host's.
fn user_of(path: &str) -> Option<u32> {
    let above = container_root(path)?;
    let user = |name: &str| name.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok();
    above.split('/').find_map(user).filter(|uid| *uid != 0)
}

/// Homes by user id (passwd(5)).
fn homes_in(passwd: &[u8]) -> HashMap<u32, String> {
    let text = String::from_utf8_lossy(passwd);
    let home = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let home = fields.nth(2)?;
        home.starts_with('/').then(|| (uid, home.to_owned()))
    };
    text.lines().filter_map(home).collect()
}

/// Docker's data root, where its configuration moves it (`data-root`, or `graph` of old).
pub(super) fn docker_root(host: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Daemon {
        #[serde(rename = "data-root", alias = "graph")]
        data_root: Option<String>,
    }
    let Content::Bytes(bytes) = View::of(host)?.read("etc/docker/daemon.json", LONGEST) else {
        return None;
    };
    serde_json::from_slice::<Daemon>(&bytes).ok()?.data_root
}
