#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The compiler for `make fuzz FUZZ_BUILD=own` (RUSTC_WORKSPACE_WRAPPER): instruments our own crates and nobody else's, so that what
# others have built is used as it is. FUZZ_FLAGS are the flags.
set -eu
case " $* " in
*" build_script_build "* | *" --crate-type proc-macro "*) exec "$@" ;;
esac
# Words of flags, which have no blanks in them.
# shellcheck disable=SC2086
exec "$@" $FUZZ_FLAGS
