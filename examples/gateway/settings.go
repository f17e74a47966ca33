package main

import (
	"strings"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// option binds one field of a Config to its names. The table that settings returns is the only place where a setting is declared: flags,
// variables, the file, --print-config, what a reload does, and the documentation's table are made from it.
type option struct {
	key   string // "section.name", as in the file
	value value
	help  string
	field string // how the library's errors name the field; "": it is not the library's
	live  liveness
}

// liveness says what a reload does with a setting that has changed.
type liveness uint8

const (
	// onRestart: the change is named in the log, and takes a restart.
	onRestart liveness = iota
	// atOnce: the change is in force when the reload is over.
	atOnce
	// forNew: the change is in force for connections that come after the reload.
	forNew
)

func (l liveness) String() string { return [...]string{"restart", "at once", "new connections"}[l] }

// flag is the setting's name on the command line, env that of its variable.
func (s *option) flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.key) }
func (s *option) env() string  { return setting.Env(s.key) }

// settings is the table, bound to c.
func settings(c *Config) []option {
	var all []option
	for _, part := range [][]option{processSettings(c), tlsSettings(c), quicSettings(c), torSettings(c), loopSettings(c), limitSettings(c), frameSettings(c)} {
		all = append(all, part...)
	}
	return all
}

func processSettings(c *Config) []option {
	f := &c.Forward
	return []option{
		{"log.level", level(&c.LogLevel), "least level that is logged", "", atOnce},
		{"log.format", oneOf(&c.LogFormat, "text", "json"), "form of the log, on standard error", "", onRestart},
		{"admin.listen", text(&c.Admin), "address of /healthz, /readyz and /metrics; empty: none", "", onRestart},
		{"drain.delay", span(&c.DrainDelay, 0, maxDrain), "time from not ready to the first goodbye, for balancers to notice", "", atOnce},
		{"drain.timeout", span(&c.DrainTimeout, minDrain, maxDrain), "time from the first goodbye until what is left is cut off; with upstreams at least reactor.shutdown_grace", "", atOnce},
		{"forward.routes", list(&f.Routes), "APP=echo or APP=UPSTREAM [UPSTREAM …] each, APP an app_proto_id or *; UPSTREAM tcp://, tls:// host:port", "", atOnce},
		{"forward.ca", text(&f.CA), "PEM file of the roots of tls:// upstreams; empty: the system's", "", onRestart},
		{"forward.timeout", span(&f.Timeout, minForward, maxForward), "time from a request to its answer; with upstreams at most reactor.shutdown_grace", "", atOnce},
		{"forward.attempts", number(&f.Attempts, 1, maxAttempts), "times that a request is tried, where it may be tried again", "", atOnce},
		{"forward.idempotent", ids(&f.Idempotent), "app_proto_ids whose requests may be sent again when an upstream is lost before it has answered", "", atOnce},
		{"forward.inflight", number(&f.Inflight, 1, maxInflight), "requests without an answer per connection to an upstream", "", atOnce},
		{"forward.queue", number(&f.Queue, 1, maxQueue), "requests that wait for one connection to an upstream; beyond, they are answered with 503", "", atOnce},
	}
}

func tlsSettings(c *Config) []option {
	t, s := &c.TLS, &c.TLS.Store
	return []option{
		{"tls.listen", text(&t.Listen), "address of the TLS listener; empty: none", "", onRestart},
		{"tls.cert", text(&t.Pair.CertFile), "PEM file of the certificate and its chain, for TLS and QUIC; its content is reloaded", "", onRestart},
		{"tls.key", text(&t.Pair.KeyFile), "PEM file of its key, mode 0600; its content is reloaded", "", onRestart},
		{"tls.responder", text(&t.Pair.Responder), "URL of the OCSP responder; empty: the one that the certificate names", "certs: Config.Pairs[0].Responder", onRestart},
		{"tls.watch", duration(&s.Interval), "time between looks at the files; negative: only at SIGHUP", "certs: Config.Interval", onRestart},
		{"tls.expiry_warning", atMost(&s.ExpiryWarning, maxExpiry), "how long before its end a certificate counts as degraded; negative: never", "certs: Config.ExpiryWarning", onRestart},
		{"tls.session_tickets", not(&t.NoTickets), "session resumption", "", onRestart},
		{"tls.ticket_file", text(&s.Tickets.File), "file of ticket keys shared by nodes; empty: keys of this process alone", "certs: Config.Tickets.File", onRestart},
		{"tls.ticket_owner", boolean(&s.Tickets.Owner), "renew tls.ticket_file, and make it where it is missing", "certs: Config.Tickets.Owner", onRestart},
		{"tls.ticket_rotate", duration(&s.Tickets.Rotate), "age at which a ticket key stops encrypting", "certs: Config.Tickets.Rotate", onRestart},
		{"tls.ticket_keep", integer(&s.Tickets.Keep), "earlier ticket keys that decrypt; 0: as many as 7 days need; negative: none", "certs: Config.Tickets.Keep", onRestart},
		{"tls.ocsp", not(&s.OCSP.Disable), "fetch and staple OCSP answers", "", onRestart},
		{"tls.ocsp_timeout", duration(&s.OCSP.Timeout), "bound on one request to the responder", "certs: Config.OCSP.Timeout", onRestart},
		{"tls.aes_gcm", aesGCM(&t.AESGCM), "implementation of AES-GCM, of clients and upstreams: auto is the fastest that the processor has", "", onRestart},
		{"tls.proxy_trusted", prefixes(&t.Proxy.Trusted), "addresses or prefixes of balancers, never of clients: each must begin its connections to tls.listen with a PROXY header, and limits and logs go by what that says; empty: none", "reactor: Proxy.Trusted", onRestart},
		{"tls.proxy_direct", boolean(&t.Proxy.Direct), "serve others than tls.proxy_trusted too, as what they are; else they are closed at once", "", onRestart},
		{"tls.handover", text(&t.Handover), "unix socket where a successor takes the TLS socket over; only without QUIC and Tor; empty: none", "", onRestart},
	}
}

func quicSettings(c *Config) []option {
	q := &c.QUIC.Lib
	return []option{
		{"quic.listen", text(&c.QUIC.Listen), "address of the QUIC listener; empty: none", "", onRestart},
		{"quic.max_streams", integer(&q.MaxStreams), "streams that a client may have open on a connection", "quic: MaxStreams", onRestart},
		{"quic.early", boolean(&q.Early), "accept 0-RTT, for the apps of quic.early_apps alone", "", onRestart},
		{"quic.early_apps", ids(&c.Frames.EarlyApps), "app_proto_ids of which every request may be executed any number of times", "framer: EarlyApps", forNew},
		{"quic.handshake_timeout", duration(&q.HandshakeTimeout), "bound on the handshake", "quic: HandshakeTimeout", onRestart},
		{"quic.idle_timeout", duration(&q.IdleTimeout), "longest silence of a connection", "quic: IdleTimeout", onRestart},
		{"quic.keep_alive", duration(&q.KeepAlive), "how often a silent connection is kept alive; 0: not", "quic: KeepAlive", onRestart},
		{"quic.max_handshakes", integer(&q.MaxHandshakes), "half-open connections", "quic: MaxHandshakes", onRestart},
		{"quic.retry_above", integer(&q.RetryAbove), "half-open connections above which clients prove their address; negative: always", "quic: RetryAbove", onRestart},
		{"quic.sndbuf", integer(&q.SendBuffer), "SO_SNDBUF of each socket, bytes", "quic: SendBuffer", onRestart},
		{"quic.rcvbuf", integer(&q.RecvBuffer), "SO_RCVBUF of each socket, bytes", "quic: RecvBuffer", onRestart},
		{"quic.stream_window", integer(&q.StreamWindow), "bytes a client may send on a fresh stream before they are read", "quic: StreamWindow", onRestart},
		{"quic.max_stream_window", integer(&q.MaxStreamWindow), "what that grows to", "quic: MaxStreamWindow", onRestart},
		{"quic.conn_window", integer(&q.ConnWindow), "the same of a connection's streams together", "quic: ConnWindow", onRestart},
		{"quic.max_conn_window", integer(&q.MaxConnWindow), "what that grows to", "quic: MaxConnWindow", onRestart},
		{"quic.window_budget", integer(&q.WindowBudget), "bytes by which all windows may grow together; negative: they do not", "quic: WindowBudget", onRestart},
		{"quic.reset_key_file", text(&c.QUIC.ResetKey), "file with 64 hexadecimal digits, mode 0600, shared by the nodes of one address: the key of stateless resets; empty: random", "", onRestart},
		{"quic.token_key_file", text(&c.QUIC.TokenKey), "likewise: the key of address tokens", "", onRestart},
	}
}

func torSettings(c *Config) []option {
	t, s := &c.Tor.Lib, &c.Tor.Service
	return []option{
		{"tor.enabled", boolean(&c.Tor.Enabled), "offer an onion service", "", onRestart},
		{"tor.control", text(&t.Control), "control port of a tor that runs, unix:/path or host:port; empty: one is started, on the public network", "tor: Control", onRestart},
		{"tor.exe", text(&t.Process.Exe), "program of the tor that is started; empty: tor", "tor: Process.Exe", onRestart},
		{"tor.data_dir", text(&t.Process.DataDir), "its directory, mode 0700; empty: nothing is kept", "tor: Process.DataDir", onRestart},
		{"tor.key_file", text(&s.KeyFile), "key of the onion service, made where it is missing; empty: a new address each time", "", onRestart},
		{"tor.port", number(&s.Port, 1, 65535), "port of the onion service", "", onRestart},
		{"tor.bootstrap_timeout", duration(&t.BootstrapTimeout), "after which a tor that has not bootstrapped counts as failed", "tor: BootstrapTimeout", onRestart},
	}
}

func loopSettings(c *Config) []option {
	r := &c.Reactor
	return []option{
		{"reactor.loops", integer(&r.Loops), "event loops; 0: one per core", "reactor: Loops", onRestart},
		{"reactor.accept_semaphore", integer(&r.HandshakeWorkers), "handshake steps that may run at once; 0: two per core", "reactor: HandshakeWorkers", onRestart},
		{"reactor.read_buffer", integer(&r.ReadBuffer), "most bytes of one read", "reactor: ReadBuffer", onRestart},
		{"reactor.write_coalesce", integer(&r.WriteCoalesce), "bytes of output that one system call carries, when there are as many", "reactor: WriteCoalesce", onRestart},
		{"reactor.nodelay", not(&r.Nagle), "TCP_NODELAY", "", onRestart},
		{"reactor.sndbuf", integer(&r.SendBuffer), "SO_SNDBUF, bytes; -1: the kernel's autotuning", "reactor: SendBuffer", onRestart},
		{"reactor.rcvbuf", integer(&r.RecvBuffer), "SO_RCVBUF, bytes; -1: the kernel's autotuning", "reactor: RecvBuffer", onRestart},
		{"reactor.congestion", text(&r.Congestion), "TCP congestion control; empty: the system's own", "reactor: Congestion", onRestart},
		{"reactor.high_water", integer(&r.HighWater), "queued output, bytes, above which a connection is not read", "reactor: HighWater", onRestart},
		{"reactor.low_water", integer(&r.LowWater), "queued output, bytes, at which it is read again", "reactor: LowWater", onRestart},
		{"reactor.hard_cap", integer(&r.HardCap), "queued output, bytes, that closes a connection as slow_peer", "reactor: HardCap", onRestart},
		{"reactor.handshake_timeout", duration(&r.HandshakeTimeout), "bound on connect and handshake; negative: none", "reactor: HandshakeTimeout", onRestart},
		{"reactor.frame_timeout", duration(&r.FrameTimeout), "bound on one frame, first byte to last; negative: none", "reactor: FrameTimeout", onRestart},
		{"reactor.idle_timeout", duration(&r.IdleTimeout), "longest time without any byte; negative: none", "reactor: IdleTimeout", onRestart},
		{"reactor.write_timeout", duration(&r.WriteTimeout), "longest time without progress while output waits; negative: none", "reactor: WriteTimeout", onRestart},
		{"reactor.linger_timeout", duration(&r.LingerTimeout), "wait for the peer's end after our own; negative: none", "reactor: LingerTimeout", onRestart},
		{"reactor.drain_timeout", duration(&r.DrainTimeout), "bound on writing what is queued when a connection closes; negative: none", "reactor: DrainTimeout", onRestart},
		{"reactor.shutdown_grace", duration(&r.ShutdownGrace), "how long connections are answered after the goodbye; negative: not at all", "reactor: ShutdownGrace", onRestart},
	}
}

func limitSettings(c *Config) []option {
	r := &c.Reactor
	return []option{
		{"limits.max_conns", integer(&r.MaxConns), "connections at once; 0: nine tenths of the descriptors; negative: no limit", "reactor: MaxConns", atOnce},
		{"limits.max_conns_per_peer", integer(&r.MaxConnsPerPeer), "connections of one peer at once; 0: no limit", "reactor: MaxConnsPerPeer", onRestart},
		{"limits.max_handshakes_per_peer", integer(&r.MaxHandshakesPerPeer), "half-open connections of one peer; 0: no limit", "reactor: MaxHandshakesPerPeer", onRestart},
		{"limits.peer_conn_rate", integer(&r.PeerConnRate), "new connections of one peer per second; 0: no limit", "reactor: PeerConnRate", onRestart},
		{"limits.conn_read_rate", integer(&r.ConnReadRate), "bytes per second read from a connection; 0: no limit", "reactor: ConnReadRate", onRestart},
		{"limits.conn_write_rate", integer(&r.ConnWriteRate), "bytes per second written to a connection; 0: no limit", "reactor: ConnWriteRate", onRestart},
		{"limits.peer_read_rate", integer(&r.PeerReadRate), "bytes per second read from a peer's connections; 0: no limit", "reactor: PeerReadRate", onRestart},
		{"limits.peer_write_rate", integer(&r.PeerWriteRate), "bytes per second written to a peer's connections; 0: no limit", "reactor: PeerWriteRate", onRestart},
		{"limits.buffer_budget", integer(&r.BufferBudget), "bytes of buffers of all connections above which the marks shrink, 1 MiB per loop at least; negative: none", "reactor: BufferBudget", onRestart},
		{"limits.min_rate", integer(&r.MinRate), "least bytes per second of an unfinished frame and of waiting output; negative: none", "reactor: MinRate", onRestart},
	}
}

func frameSettings(c *Config) []option {
	f := &c.Frames
	return []option{
		{"frames.max_frame", integer(&f.MaxFrame), "largest frame, bytes", "framer: MaxFrame", forNew},
		{"frames.max_inflight", integer(&f.MaxInflight), "frames in flight before a connection is not read", "framer: MaxInflight", forNew},
		{"frames.max_streams", integer(&f.MaxStreams), "streams that a client may have open on a connection", "framer: MaxStreams", forNew},
		{"frames.max_inflated", integer(&f.MaxInflated), "bytes that a compressed payload may inflate to; beyond: 413", "framer: MaxInflated", forNew},
	}
}
