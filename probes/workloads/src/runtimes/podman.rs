// SPDX-License-Identifier: Apache-2.0
//! The list of containers that containers/storage keeps (`store.go`, `containers.go`): `containers.json` and, for those
//! that need not outlive a boot, `volatile-containers.json`. Podman's own database is no file that we read; names are in
//! this list, and the image is in the text that podman leaves in `metadata`.

use super::facts::Facts;
use foldhash::HashMap;
use serde::Deserialize;

#[derive(Deserialize)]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    metadata: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "image-name")]
    image: Option<String>,
}

/// All containers of a list by id; `None` where it is none.
pub(super) fn parse(bytes: &[u8]) -> Option<HashMap<String, Facts>> {
    let containers: Vec<Container> = serde_json::from_slice(bytes).ok()?;
    let named = containers.into_iter().filter_map(|container| {
        let names = container.names.unwrap_or_default();
        let metadata = container.metadata.as_deref();
        let metadata = metadata.and_then(|text| serde_json::from_str::<Metadata>(text).ok());
        let image = metadata.and_then(|metadata| metadata.image);
        let facts = Facts::new(names.first().map(String::as_str), image.as_deref())?;
        Some((container.id, facts))
    });
    Some(named.collect())
}
