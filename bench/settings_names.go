package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// The tables below give every knob its name in the file and among the variables, by flag. Where the example gateway has the setting, the name
// is the gateway's (TestGatewayNames).

// settingKeys are the names of the knobs that are not of package quic or tor.
func settingKeys() map[string]string {
	return map[string]string{
		"loops": "reactor.loops", "accept-semaphore": "reactor.accept_semaphore", "read-buffer": "reactor.read_buffer",
		"write-coalesce": "reactor.write_coalesce", "nodelay": "reactor.nodelay", "sndbuf": "reactor.sndbuf", "rcvbuf": "reactor.rcvbuf",
		"congestion": "reactor.congestion", "high-water": "reactor.high_water", "low-water": "reactor.low_water", "hard-cap": "reactor.hard_cap",
		"pool-bytes": "reactor.pool_bytes", "handshake-timeout": "reactor.handshake_timeout", "frame-timeout": "reactor.frame_timeout",
		"idle-timeout": "reactor.idle_timeout", "write-timeout": "reactor.write_timeout", "linger-timeout": "reactor.linger_timeout",
		"drain-timeout": "reactor.drain_timeout", "shutdown-grace": "reactor.shutdown_grace",

		"max-conns": "limits.max_conns", "max-conns-per-peer": "limits.max_conns_per_peer", "max-handshakes-per-peer": "limits.max_handshakes_per_peer",
		"peer-conn-rate": "limits.peer_conn_rate", "conn-read-rate": "limits.conn_read_rate", "conn-write-rate": "limits.conn_write_rate",
		"peer-read-rate": "limits.peer_read_rate", "peer-write-rate": "limits.peer_write_rate", "buffer-budget": "limits.buffer_budget",
		"min-rate": "limits.min_rate",

		"max-frame": "frames.max_frame", "inflight": "frames.max_inflight", "frame-streams": "frames.max_streams", "max-inflated": "frames.max_inflated",
		"reply-delay": "handler.reply_delay",

		"session-tickets": "tls.session_tickets", "ocsp": "tls.ocsp", "ocsp-timeout": "tls.ocsp_timeout", "ocsp-staple": "tls.ocsp_staple",
		"cert-interval": "tls.watch", "cert-warning": "tls.expiry_warning", "ticket-file": "tls.ticket_file", "ticket-owner": "tls.ticket_owner",
		"ticket-rotate": "tls.ticket_rotate", "ticket-keep": "tls.ticket_keep",
	}
}

// quicKeys are those of package quic: of servers and clients on QUIC, where they come before the others.
func quicKeys() map[string]string {
	return map[string]string{
		"max-streams": "quic.max_streams", "early-apps": "quic.early_apps", "handshake-timeout": "quic.handshake_timeout",
		"conn-idle-timeout": "quic.idle_timeout", "keep-alive": "quic.keep_alive", "max-handshakes": "quic.max_handshakes",
		"retry-above": "quic.retry_above", "sndbuf": "quic.sndbuf", "rcvbuf": "quic.rcvbuf", "stream-window": "quic.stream_window",
		"max-stream-window": "quic.max_stream_window", "conn-window": "quic.conn_window", "max-conn-window": "quic.max_conn_window",
		"window-budget": "quic.window_budget", "reset-key": "quic.reset_key_file", "token-key": "quic.token_key_file",
		"packet-size": "quic.packet_size", "no-gro": "quic.no_gro", "no-gso": "quic.no_gso",
	}
}

// torKeys are those of package tor: of servers and clients over Tor.
func torKeys() map[string]string {
	return map[string]string{
		"bootstrap-timeout": "tor.bootstrap_timeout",
		"control":           "tor.control", "cookie-file": "tor.cookie_file", "public-network": "tor.public_network", "tor-exe": "tor.exe",
		"tor-dir": "tor.data_dir", "tor-option": "tor.options", "onion-port": "tor.port", "onion-key": "tor.key_file",
		"client-auth": "tor.client_auth", "pow": "tor.pow", "max-conns-per-circuit": "tor.max_conns_per_circuit",
	}
}

// byHand says whether a setting counts for servers and clients that are started by hand alone: what starts both has a tor network of its own.
func byHand(key string) bool { return strings.HasPrefix(key, "tor.") && key != "tor.bootstrap_timeout" }

// clientKeys are those of clients' own: a load's event loops are not the server's.
func clientKeys() map[string]string { return map[string]string{"loops": "client.loops"} }

// knobbed is a command that has knobs.
type knobbed struct {
	command string
	knobs   map[string]*pflag.Flag // by key
	check   func() error           // of what the flags have come to, without what is needed only to start
}

// knobsOf finds the knobs among flags. Of several tables that have a flag the first one counts.
func knobsOf(flags *pflag.FlagSet, tables ...map[string]string) map[string]*pflag.Flag {
	out := make(map[string]*pflag.Flag)
	flags.VisitAll(func(f *pflag.Flag) {
		for _, t := range tables {
			if key, ok := t[f.Name]; ok {
				out[key] = f
				return
			}
		}
	})
	return out
}

// knobbedServer says what knobs a server has; nothing for peers.
func knobbedServer(o *serverOptions) knobbed {
	tables := []map[string]string{settingKeys()}
	if o.kind.quic {
		tables = append([]map[string]string{quicKeys()}, tables...)
	}
	if o.kind.tor {
		tables = append(tables, torKeys())
	}
	return knobbed{o.kind.command, knobsOf(o.flags, tables...), o.checkKnobs}
}

// knobbedClient says what knobs a client has.
func knobbedClient(k clientKind, o *clientOptions, flags *pflag.FlagSet) knobbed {
	tables := []map[string]string{clientKeys()}
	if k.knobs {
		tables = append(tables, quicKeys())
	}
	if k.tor {
		tables = append(tables, torKeys())
	}
	return knobbed{k.command, knobsOf(flags, tables...), o.checkKnobs}
}

// kindOfFlag is the type of a flag's value in the file.
func kindOfFlag(f *pflag.Flag) setting.Kind {
	if _, ok := f.Value.(pflag.SliceValue); ok {
		return setting.List
	}
	switch f.Value.Type() {
	case "int", "int64":
		return setting.Integer
	case "bool":
		return setting.Boolean
	case "duration":
		return setting.Duration
	}
	return setting.Text
}

// keysOf are the keys of commands, without repetition, in the order of the file: by section, and by name within.
func keysOf(commands []knobbed) []string {
	var all []string
	for _, c := range commands {
		for key := range c.knobs {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
