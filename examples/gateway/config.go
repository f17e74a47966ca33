package main

import (
	"log/slog"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tls/certs"
	"github.com/ron-transport/ron-transport/tor"
)

// Config is everything that can be set. Most of it are the library's own configurations, so that a setting is the very field that the
// library is given. settings binds each field to its name.
type Config struct {
	LogLevel  slog.Level
	LogFormat string // "text" or "json"

	Admin string // address of the HTTP listener; "": none

	DrainDelay   time.Duration // from NotReady to the first goodbye
	DrainTimeout time.Duration // from the first goodbye to the end of what is left

	TLS     TLSConfig
	QUIC    QUICConfig
	Tor     TorConfig
	Reactor reactor.Config
	Frames  framer.Options
	Forward ForwardConfig
}

// TLSConfig is about the TLS listener, and about certificates, which QUIC uses as well.
type TLSConfig struct {
	Listen    string // "": none
	Pair      certs.Pair
	Store     certs.Config // but for its Pairs
	NoTickets bool
	AESGCM    tls.AESGCM
	Proxy     reactor.ProxyConfig // without Trusted nobody announces clients
	Handover  string              // where a successor takes the socket over; "": nowhere
}

// QUICConfig is about the QUIC listener.
type QUICConfig struct {
	Listen             string // "": none
	Lib                quic.ListenConfig
	ResetKey, TokenKey string // files; "": random keys
}

// TorConfig is about the onion service.
type TorConfig struct {
	Enabled bool
	Lib     tor.Config
	Service tor.ServiceConfig
}

// ForwardConfig is about what becomes of frames.
type ForwardConfig struct {
	Routes     []string // see parseRoutes
	CA         string   // PEM file of the roots that upstreams' certificates are checked by; "": the system's
	Timeout    time.Duration
	Attempts   int
	Idempotent []uint16 // app_proto_ids of which an unanswered request may be sent again
	Inflight   int      // requests without an answer per upstream connection
	Queue      int      // requests that wait for one connection to an upstream
}

// defaults are the values in force when nothing is said: the library's own, and those of the seed's §3.
func defaults() *Config {
	return &Config{
		LogLevel: slog.LevelInfo, LogFormat: "text", Admin: "127.0.0.1:9090", DrainDelay: 5 * time.Second, DrainTimeout: 30 * time.Second,
		TLS: TLSConfig{Listen: "127.0.0.1:8443", Store: certs.Config{Interval: certs.DefaultInterval, ExpiryWarning: certs.DefaultExpiryWarning,
			OCSP: certs.OCSP{Timeout: certs.DefaultFetchTimeout}, Tickets: certs.Tickets{Rotate: certs.DefaultRotate}}},
		QUIC: QUICConfig{Lib: quic.ListenConfig{MaxHandshakes: quic.DefaultMaxHandshakes, RetryAbove: quic.DefaultRetryAbove,
			Config: quic.Config{MaxStreams: quic.DefaultMaxStreams, HandshakeTimeout: quic.DefaultHandshakeTimeout,
				IdleTimeout: quic.DefaultIdleTimeout, SendBuffer: quic.DefaultSocketBuffer, RecvBuffer: quic.DefaultSocketBuffer,
				StreamWindow: quic.DefaultStreamWindow, MaxStreamWindow: quic.DefaultMaxStreamWindow,
				ConnWindow: quic.DefaultConnWindow, MaxConnWindow: quic.DefaultMaxConnWindow, WindowBudget: quic.DefaultWindowBudget}}},
		Tor: TorConfig{Lib: tor.Config{BootstrapTimeout: tor.DefaultBootstrapTimeout}, Service: tor.ServiceConfig{Port: tor.DefaultPort}},
		Reactor: reactor.Config{ReadBuffer: reactor.DefaultReadBuffer, WriteCoalesce: reactor.DefaultWriteCoalesce,
			HighWater: reactor.DefaultHighWater, LowWater: reactor.DefaultLowWater, HardCap: reactor.DefaultHardCap,
			BufferBudget: reactor.DefaultBufferBudget, SendBuffer: reactor.DefaultSocketBuffer, RecvBuffer: reactor.DefaultSocketBuffer,
			HandshakeTimeout: reactor.DefaultHandshakeTimeout, FrameTimeout: reactor.DefaultFrameTimeout, IdleTimeout: reactor.DefaultIdleTimeout,
			WriteTimeout: reactor.DefaultWriteTimeout, LingerTimeout: reactor.DefaultLingerTimeout, DrainTimeout: reactor.DefaultDrainTimeout,
			ShutdownGrace: 10 * time.Second, MinRate: reactor.DefaultMinRate}, // the grace: no shorter than the timeout of forwarding
		Frames: framer.Options{MaxFrame: framer.MaxFrame, MaxInflight: framer.MaxInflight, MaxStreams: framer.DefaultMaxStreams, MaxInflated: framer.MaxInflated},
		Forward: ForwardConfig{Routes: []string{"*=echo"}, Timeout: 10 * time.Second, Attempts: 4, Inflight: framer.MaxInflight,
			Queue: 1024},
	}
}
