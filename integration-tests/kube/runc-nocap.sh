#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# runc for a machine whose root may lack CAP_SYS_RESOURCE (a sandbox's). Raising a hard limit, lowering oom_score_adj and
# granting that capability are refused there, and with them every sandbox that the kubelet makes: all three are dropped from
# what runc is told to make. Where root has the capability this is plain runc.
effective=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
if (((0x$effective >> 24) & 1)); then exec runc "$@"; fi
bundle=$PWD process='' before='' verb=''
for word; do
    case $before in --bundle | -b) bundle=$word ;; --process | -p) process=$word ;; esac
    case $word in --bundle=*) bundle=${word#*=} ;; --process=*) process=${word#*=} ;; create | run | exec) verb=${verb:-$word} ;; esac
    before=$word
done
trim='del(.rlimits)
    | if .capabilities then .capabilities |= map_values(. - ["CAP_SYS_RESOURCE"]) else . end
    | if (.oomScoreAdj // 0) < 0 then .oomScoreAdj = 0 else . end'
edit() { [[ -f $1 ]] && jq "$2" "$1" > "$1.new" && cat "$1.new" > "$1" && rm "$1.new"; }
case $verb in
create | run) edit "$bundle/config.json" ".process |= ($trim)" ;;
exec) edit "$process" "$trim" ;;
esac
exec runc "$@"
