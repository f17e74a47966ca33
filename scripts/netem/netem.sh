#!/usr/bin/env bash
# A network path with faults between two network namespaces of its own: tc netem where the kernel has it, else tunimpair, which does the same in
# user space. See usage, below. Needs root and iproute2; tunimpair needs /dev/net/tun, and go unless NETEM_TUNIMPAIR names a built one.
#
# What it makes is written down in a directory of its own, /run/ronnetem/NAME, before anything else uses it, and only what is written down there
# is ever removed: a namespace that has the same name but is another one is left alone.
set -euo pipefail

usage() {
	cat <<-'END'
		usage: netem.sh up   [flags]                 make the path: namespaces ronnetem-a-NAME (198.18.0.1) and ronnetem-b-NAME (198.18.0.2)
		       netem.sh exec a|b [--name NAME] -- CMD…   run a command at one end
		       netem.sh down [--name NAME]           print the counters and remove it all
		       netem.sh run  [flags] -- CMD…         up, the command at end a, and down; its exit status is the command's
		  --delay 50ms     delay of each direction, as tc netem has it: the round trip is twice that (us, ms, s)
		  --jitter 5ms     spread of the delay to both sides; packets overtake each other then
		  --loss 2.5       packets lost, percent of each direction; the same for
		  --reorder, --duplicate, --corrupt   sent ahead of others without the delay (needs --delay); sent twice; one bit wrong
		  --rate 20mbit    rate of each direction, with a queue of 1000 packets (bit, kbit, mbit, gbit)
		  --mtu 1500       MTU of the path
		  --seed 1         of what is left to chance
		  --means auto     auto: tc netem if the kernel has it, else tun; tc, tun: only that
		  --name NAME      of this path, if there are several: a to z, 0 to 9 and -, at most 20
		  --server 'CMD'   run only: a shell command at end b, begun before the command and ended after it
		Commands find NETEM_A, NETEM_B (addresses), NETEM_NS_A, NETEM_NS_B (namespaces) and NETEM_MEANS in their environment.
		Exit status 2: the command line was refused, and nothing was started; 1: the path cannot be made here.
	END
}

refuse() { echo "netem.sh: $*" >&2; exit 2; }
fail() { echo "netem.sh: $*" >&2; exit 1; }

addr_a=198.18.0.1 addr_b=198.18.0.2 dev=ron0 # no other network has these addresses: they are those for benchmarks (RFC 2544)
delay=0ms jitter=0ms loss=0 reorder=0 duplicate=0 corrupt=0 rate=0 mtu=1500 seed='' means=auto name='' server=''
queue=1000
rates='0, or a number and bit, kbit, mbit or gbit, such as 20mbit, 8bit to 100gbit'
cmd=()

# form checks that a flag's value has a form, and says what is allowed.
form() { # flag, value, pattern, what is allowed
	[[ $2 =~ ^($3)$ ]] || refuse "$1 $2 is not allowed; allowed: $4"
}

flags() {
	local value percent='[0-9]{1,3}(\.[0-9]{1,6})?%?' duration='[0-9]{1,7}(\.[0-9]{1,6})?(us|ms|s)'
	while [ $# -gt 0 ]; do
		[ "$1" = -- ] && { shift; cmd=("$@"); return; }
		[[ $1 == --* ]] || refuse "unexpected argument $1; a command goes after --"
		[ $# -ge 2 ] || refuse "$1 needs a value"
		value=$2
		case $1 in
		--delay) form "$1" "$value" "$duration" "a number and us, ms or s, such as 50ms"; delay=$value ;;
		--jitter) form "$1" "$value" "$duration" "a number and us, ms or s, such as 5ms"; jitter=$value ;;
		--loss) form "$1" "$value" "$percent" "0 to 100 percent"; loss=${value%\%} ;;
		--reorder) form "$1" "$value" "$percent" "0 to 100 percent"; reorder=${value%\%} ;;
		--duplicate) form "$1" "$value" "$percent" "0 to 100 percent"; duplicate=${value%\%} ;;
		--corrupt) form "$1" "$value" "$percent" "0 to 100 percent"; corrupt=${value%\%} ;;
		--rate) form "$1" "$value" '0|[0-9]{1,9}(\.[0-9]{1,6})?(bit|kbit|mbit|gbit)' "$rates"; rate=$value ;;
		--mtu) form "$1" "$value" '[1-9][0-9]{2,4}' "576 to 65535"; mtu=$value ;;
		--seed) form "$1" "$value" '0|[1-9][0-9]{0,17}' "a number of 18 digits at most, the first of them not 0"; seed=$value ;;
		--means) form "$1" "$value" 'auto|tc|tun' "auto, tc, tun"; means=$value ;;
		--name) form "$1" "$value" '[a-z0-9][a-z0-9-]{0,19}' "a to z, 0 to 9 and -, at most 20"; name=$value ;;
		--server) server=$value ;;
		*) refuse "no flag $1; see netem.sh --help" ;;
		esac
		shift 2
	done
}

# nanoseconds of a duration, for comparisons.
nanoseconds() { awk -v d="$1" 'BEGIN { n = d + 0; u = d; gsub(/[0-9.]/, "", u); printf "%.0f\n", n * (u == "us" ? 1e3 : u == "ms" ? 1e6 : 1e9) }'; }
bits() { awk -v r="$1" 'BEGIN { n = r + 0; u = r; gsub(/[0-9.]/, "", u); printf "%.0f\n", n * (u == "gbit" ? 1e9 : u == "mbit" ? 1e6 : u == "kbit" ? 1e3 : 1) }'; }

# together checks what no flag can say alone.
together() {
	local flag value
	if [ "$rate" != 0 ] && { [ "$(bits "$rate")" -lt 8 ] || [ "$(bits "$rate")" -gt 100000000000 ]; }; then
		refuse "--rate $rate is not allowed; allowed: $rates"
	fi
	for flag in loss reorder duplicate corrupt; do
		value=${!flag}
		awk -v v="$value" 'BEGIN { exit !(v <= 100) }' || refuse "--$flag $value is not allowed; allowed: 0 to 100 percent"
	done
	((mtu >= 576 && mtu <= 65535)) || refuse "--mtu $mtu is not allowed; allowed: 576 to 65535"
	[ "$(nanoseconds "$delay")" -le 10000000000 ] || refuse "--delay $delay is not allowed; allowed: 0s to 10s"
	[ "$(nanoseconds "$jitter")" -le "$(nanoseconds "$delay")" ] || refuse "--jitter $jitter is not allowed; allowed: 0ms to the delay, which is $delay"
	if [ "$(nanoseconds "$delay")" = 0 ] && awk -v v="$reorder" 'BEGIN { exit !(v > 0) }'; then
		refuse "--reorder $reorder needs --delay: packets that are sent at once overtake none"
	fi
}

privileged() {
	[ "$(id -u)" = 0 ] || fail "it needs root, for network namespaces and devices; this is user $(id -u)"
	command -v ip >/dev/null || fail "it needs ip, of iproute2"
}

# names sets what follows from the path's name. The directory is root's alone.
names() {
	ns_a=ronnetem-a-$name ns_b=ronnetem-b-$name
	root=/run/ronnetem state=/run/ronnetem/$name
}

identity() { stat -Lc %i "/run/netns/$1" 2>/dev/null || true; } # of a namespace: names may be used again

make_namespace() { # end, namespace
	[ ! -e "/run/netns/$2" ] || fail "there is a namespace $2, which is not ours; take another --name"
	echo making >"$state/ns-$1" # should we end just here
	ip netns add "$2" || { rm "$state/ns-$1"; fail "no namespace can be made here"; }
	identity "$2" >"$state/ns-$1"
	ip -n "$2" link set lo up
}

remove_namespace() { # end, namespace
	local left made
	[ -s "$state/ns-$1" ] && [ -e "/run/netns/$2" ] || return 0
	made=$(cat "$state/ns-$1")
	[ "$made" = making ] || [ "$made" = "$(identity "$2")" ] || return 0
	left=$(ip netns pids "$2" | tr '\n' ' ')
	[ -z "$left" ] || echo "netem.sh: still in $2, and left alone: process $left" >&2
	ip netns delete "$2"
}

# by_tc tries tc netem, with every parameter; it is the probe at the same time.
by_tc() {
	local args=(limit "$queue") ns
	command -v tc >/dev/null || return 1
	if [ "$rate" != 0 ]; then # tc's limit counts what is under way as well
		args=(limit "$(awk -v q="$queue" -v r="$(bits "$rate")" -v d="$(nanoseconds "$delay")" 'BEGIN { printf "%.0f\n", q + r / 8 * d / 1e9 / 1000 }')")
	else
		args=(limit 100000)
	fi
	args+=(delay "$delay")
	[ "$(nanoseconds "$jitter")" = 0 ] || args+=("$jitter")
	[ "$loss" = 0 ] || args+=(loss "$loss%")
	[ "$reorder" = 0 ] || args+=(reorder "$reorder%")
	[ "$duplicate" = 0 ] || args+=(duplicate "$duplicate%")
	[ "$corrupt" = 0 ] || args+=(corrupt "$corrupt%")
	[ "$rate" = 0 ] || args+=(rate "$rate")
	[ -z "$seed" ] || args+=(seed "$seed")
	ip link add "$dev" netns "$ns_a" mtu "$mtu" type veth peer name "$dev" mtu "$mtu" netns "$ns_b" 2>"$state/log" || return 1
	for ns in "$ns_a" "$ns_b"; do
		if ! tc -n "$ns" qdisc add dev "$dev" root netem "${args[@]}" 2>>"$state/log"; then
			ip -n "$ns_a" link delete "$dev"
			return 1
		fi
		# netem takes what TCP hands over at once for one packet: one segment each, then. (UDP's own segmentation it still takes so.)
		ip -n "$ns" link set dev "$dev" gso_max_segs 1 2>>"$state/log" || true
	done
	ip -n "$ns_a" addr add "$addr_a/30" dev "$dev"
	ip -n "$ns_b" addr add "$addr_b/30" dev "$dev"
	for ns in "$ns_a" "$ns_b"; do ip -n "$ns" link set "$dev" up; done
}

# by_tun starts tunimpair. With a parent it ends when this shell does, however that ends.
by_tun() { # with parent: yes or no
	local binary=${NETEM_TUNIMPAIR:-} args here i
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
	if [ -z "$binary" ]; then
		command -v go >/dev/null || fail "the kernel has no tc netem, and there is no go to build tunimpair with; NETEM_TUNIMPAIR may name a built one"
		# Not below /run, where many systems let nothing be executed.
		mktemp -d "${TMPDIR:-/tmp}/ronnetem.XXXXXX" >"$state/build"
		binary=$(cat "$state/build")/tunimpair
		(cd "$here" && go build -o "$binary" ./tunimpair) || fail "tunimpair could not be built"
	fi
	args=(--ns-a "/run/netns/$ns_a" --ns-b "/run/netns/$ns_b" --addr-a "$addr_a/30" --addr-b "$addr_b/30" --delay "$delay" --jitter "$jitter"
		--loss "$loss" --reorder "$reorder" --duplicate "$duplicate" --corrupt "$corrupt" --rate "$rate" --queue "$queue" --mtu "$mtu" --seed "${seed:-1}")
	if [ "$1" = yes ]; then
		exec {keep}> >(exec setsid "$binary" "${args[@]}" --with-parent >"$state/counters" 2>"$state/log")
	else
		setsid "$binary" "${args[@]}" </dev/null >"$state/counters" 2>"$state/log" &
	fi
	echo $! >"$state/pid"
	started "$!" >"$state/started"
	for ((i = 0; i < 600; i++)); do
		! grep -qx ready "$state/counters" || return 0
		alive || break
		sleep 0.1
	done
	fail "no emulated path: $(tail -n 1 "$state/log")"
}

started() { awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null || true; } # when a process began: pids are used again

alive() {
	[ -s "$state/pid" ] && [ -s "$state/started" ] && [ "$(started "$(cat "$state/pid")")" = "$(cat "$state/started")" ]
}

up() { # with parent: yes or no
	together
	privileged
	mkdir -p "$root"
	mkdir -m 700 "$state" 2>/dev/null || fail "there is a path $name already, or what is left of one; netem.sh down --name $name removes it"
	trap 'code=$?; trap - EXIT; trap "" INT TERM HUP; down_quietly; exit $code' EXIT # a second Ctrl-C must not leave half of it
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	make_namespace a "$ns_a"
	make_namespace b "$ns_b"
	local used=tun
	if [ "$means" != tun ] && by_tc; then
		used=tc
	elif [ "$means" = tc ]; then
		fail "no tc netem here: $(tail -n 1 "$state/log" 2>/dev/null || true)"
	else
		by_tun "$1"
	fi
	echo "$used" >"$state/means"
	case $used in
	tc) echo "netem.sh: by tc netem, each way: delay $delay, jitter $jitter, loss $loss %, rate $rate" >&2 ;;
	tun) echo "netem.sh: by tunimpair, in user space, each way: delay $delay, jitter $jitter, loss $loss %, rate $rate" >&2 ;;
	esac
}

down_quietly() { down >/dev/null 2>&1 || true; }

# down removes what the state says that we made, and prints the counters.
down() {
	[ -d "$state" ] || fail "there is no path $name"
	local i
	[ -z "${keep:-}" ] || exec {keep}>&-
	if alive; then
		kill -TERM "$(cat "$state/pid")" || true
		for ((i = 0; i < 100; i++)); do
			alive || break
			sleep 0.1
		done
		! alive || kill -KILL "$(cat "$state/pid")" || true
	fi
	if [ "$(cat "$state/means" 2>/dev/null || true)" = tc ]; then
		for i in "$ns_a" "$ns_b"; do tc -s -n "$i" qdisc show dev "$dev" || true; done
	elif [ -e "$state/counters" ]; then
		grep -vx ready "$state/counters" || true
	fi
	remove_namespace a "$ns_a"
	remove_namespace b "$ns_b"
	if [ -s "$state/build" ]; then rm -rf "$(cat "$state/build")"; fi
	rm -rf "${state:?}"
	rmdir "$root" 2>/dev/null || true
}

# at runs a command at one end, in place of this shell.
at() { # namespace, command…
	local ns=$1
	shift
	[ -z "${keep:-}" ] || exec {keep}>&- # it is this shell's alone
	exec env --default-signal=INT,QUIT NETEM_A="$addr_a" NETEM_B="$addr_b" NETEM_NS_A="$ns_a" NETEM_NS_B="$ns_b" \
		NETEM_MEANS="$(cat "$state/means")" ip netns exec "$ns" "$@"
}

# finish ends a process of ours, and all of its group where it leads one, and waits for it.
finish() { # pid, tenths of a second to wait first
	local i
	for ((i = 0; i < $2; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -TERM -- "-$1" 2>/dev/null || kill -TERM "$1" 2>/dev/null || return 0
	for ((i = 0; i < 50; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL -- "-$1" 2>/dev/null || kill -KILL "$1" 2>/dev/null || true
}

# run is up, the command, and down. The command runs beside this shell, which so hears of signals while it does.
run() {
	local code=0 pid server_pid=''
	[ ${#cmd[@]} -gt 0 ] || refuse "run needs a command, after --"
	up yes
	if [ -n "$server" ]; then
		(at "$ns_b" setsid bash -c "$server") </dev/null &
		server_pid=$!
	fi
	(at "$ns_a" "${cmd[@]}") <&0 &
	pid=$!
	# Ctrl-C has reached the command as well; a signal to this shell alone has not.
	trap 'finish $pid 50; [ -z "$server_pid" ] || finish $server_pid 0; exit 130' INT
	trap 'finish $pid 0; [ -z "$server_pid" ] || finish $server_pid 0; exit 143' TERM HUP
	wait "$pid" || code=$?
	[ -z "$server_pid" ] || finish "$server_pid" 0
	trap - EXIT
	trap '' INT TERM HUP
	down >&2
	exit "$code"
}

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
up | run | down)
	flags "$@"
	[ "$verb" = run ] || [ ${#cmd[@]} -eq 0 ] || refuse "$verb takes no command"
	[ "$verb" = run ] || [ -z "$server" ] || refuse "--server is for run"
	[ "$verb" != run ] || name=${name:-run$$}
	;;
exec)
	end=${1:-}
	case $end in a | b) shift ;; *) refuse "exec needs an end: a or b" ;; esac
	flags "$@"
	[ ${#cmd[@]} -gt 0 ] || refuse "exec needs a command, after --"
	;;
-h | --help | help) usage; exit 0 ;;
*) usage >&2; exit 2 ;;
esac
name=${name:-0}
names
case $verb in
up) up no; trap - EXIT INT TERM HUP ;;
down) privileged; down ;;
run) run ;;
exec)
	privileged
	[ -s "$state/means" ] || fail "there is no path $name; netem.sh up makes one"
	if [ "$end" = a ]; then at "$ns_a" "${cmd[@]}"; else at "$ns_b" "${cmd[@]}"; fi
	;;
esac
