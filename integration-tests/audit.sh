#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Is anything below us known to be vulnerable (RustSec's database, from github.com), or withdrawn by its author (the registry)?
# Where the database cannot be had, a copy of it below ~/.cargo/advisory-dbs is asked; where there is none either, that is said, and
# counts as a failure: what was not looked at is not proven. Withdrawn versions are looked for all the same.
set -euo pipefail
cd "$(dirname "$0")/.."

if said=$(cargo deny --locked fetch db 2>&1); then
    exec cargo deny --locked check advisories
fi
name=$(grep -o 'advisory-db-[0-9a-f]*' <<<"$said" | head -1)
copy="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/$name"
if [[ -n $name && -d $copy/crates ]]; then
    echo "github.com cannot be reached; asked is the copy of $(git -C "$copy" log -1 --format=%cs)" >&2
    exec cargo deny --locked --offline check advisories
fi
echo "known vulnerabilities: NOT CHECKED, github.com/RustSec/advisory-db cannot be reached and there is no copy in $copy" >&2

# cargo-deny looks for withdrawn versions only beside a database: this one knows of nothing.
[[ -n $name ]] || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/$name/crates/no-such-crate"
cat >"$scratch/$name/crates/no-such-crate/RUSTSEC-2000-0001.md" <<'ADVISORY'
```toml
[advisory]
id = "RUSTSEC-2000-0001"
package = "no-such-crate"
date = "2000-01-01"

[versions]
patched = []
```

# Stands for a database that is not there
ADVISORY
git -C "$scratch/$name" init -q -b main
git -C "$scratch/$name" add -A
git -C "$scratch/$name" -c user.name=audit -c user.email=audit@example.invalid commit -qm "a stand-in"
printf '%s\t\tbranch main of nowhere\n' "$(git -C "$scratch/$name" rev-parse HEAD)" >"$scratch/$name/.git/FETCH_HEAD"
sed "s|^\[advisories\]|&\ndb-path = \"$scratch\"|" deny.toml >"$scratch/deny.toml"
cargo deny --config "$scratch/deny.toml" --locked --offline check advisories >&2 &&
    echo "withdrawn versions: none, as far as the registry's index was last seen" >&2
exit 1
