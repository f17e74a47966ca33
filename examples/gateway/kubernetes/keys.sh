#!/bin/sh
# Makes and rotates the keys that the nodes of one address share, in a directory: tickets, reset, token (all mode 0600).
#
#   keys.sh new DIR      keys for a new set-up; refuses a directory that has some
#   keys.sh stage DIR    first half of a rotation: a new ticket key that all nodes decrypt with, and none encrypts with
#   keys.sh promote DIR  second half, once every node has the first: the staged key encrypts, older ones decrypt
#
# In two halves, because a ticket that one node has encrypted with a key is of no use at a node that does not know the key yet.
set -eu
umask 077
keep=15 # older keys that stay: with the first 16, as many as the gateway takes

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
digits() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }
keys() { grep -v -e '^#' -e '^$' "$dir/tickets"; }
put() { # file: standard input takes its place, whole
	cat >"$dir/.$1.next"
	mv -f "$dir/.$1.next" "$dir/$1"
}

[ $# = 2 ] || usage
dir=$2
case $1 in
new)
	mkdir -p "$dir"
	for name in tickets reset token; do
		[ ! -e "$dir/$name" ] || { echo "keys.sh: there is $dir/$name already" >&2; exit 1; }
	done
	printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(digits)" | put tickets
	digits | put reset
	digits | put token
	;;
stage) # second, with the time of the first: newest come first, and the first encrypts
	first=$(keys | head -n 1)
	[ "$(keys | awk -v t="${first%% *}" '$1 == t' | wc -l)" = 1 ] || { echo "keys.sh: a key is staged already; promote it" >&2; exit 1; }
	{
		echo "$first"
		printf '%s %s\n' "${first%% *}" "$(digits)"
		keys | tail -n +2 | head -n $((keep - 1))
	} | put tickets
	;;
promote)
	first=$(keys | head -n 1) staged=$(keys | sed -n 2p)
	[ "${first%% *}" = "${staged%% *}" ] || { echo "keys.sh: no key is staged" >&2; exit 1; }
	{
		printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${staged#* }"
		echo "$first"
		keys | tail -n +3
	} | put tickets
	;;
*) usage ;;
esac
