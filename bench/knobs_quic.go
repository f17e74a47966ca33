package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
)

// quicKnobs are the fields of package quic as flags.
type quicKnobs struct {
	config   quic.Config
	listen   quic.ListenConfig // of a server: what is not in its Config
	resetKey string
	tokenKey string

	earlyApps []uint // framer.Options.EarlyApps
}

// clientKeepAlive keeps connections of a client whose timetable is slower than the server's patience.
const clientKeepAlive = 30 * time.Second

// quicFields maps fields of the library's configuration, as its errors name them, to flags.
func quicFields() map[string]string {
	return map[string]string{
		"MaxStreams": "max-streams", "HandshakeTimeout": "handshake-timeout", "IdleTimeout": "conn-idle-timeout", "KeepAlive": "keep-alive",
		"StreamWindow": "stream-window", "MaxStreamWindow": "max-stream-window", "ConnWindow": "conn-window", "MaxConnWindow": "max-conn-window",
		"WindowBudget": "window-budget", "PacketSize": "packet-size", "SendBuffer": "sndbuf", "RecvBuffer": "rcvbuf",
		"DisableGRO": "no-gro", "DisableGSO": "no-gso", "RetryAbove": "retry-above", "MaxHandshakes": "max-handshakes",
		"Early": "early-apps", "ResetKey": "reset-key", "TokenKey": "token-key",
	}
}

// register declares the flags that servers and clients share. Their defaults are the library's.
func (k *quicKnobs) register(f *pflag.FlagSet) {
	c := &k.config
	f.DurationVar(&c.HandshakeTimeout, "handshake-timeout", quic.DefaultHandshakeTimeout, "bound on the handshake")
	f.DurationVar(&c.IdleTimeout, "conn-idle-timeout", quic.DefaultIdleTimeout, "longest time without a packet on a connection")
	f.IntVar(&c.StreamWindow, "stream-window", quic.DefaultStreamWindow, "`bytes` the peer may send on a stream before they are read, at first")
	f.IntVar(&c.MaxStreamWindow, "max-stream-window", quic.DefaultMaxStreamWindow, "`bytes` that this may grow to")
	f.IntVar(&c.ConnWindow, "conn-window", quic.DefaultConnWindow, "`bytes` the peer may send on a connection before they are read, at first")
	f.IntVar(&c.MaxConnWindow, "max-conn-window", quic.DefaultMaxConnWindow, "`bytes` that this may grow to")
	f.IntVar(&c.WindowBudget, "window-budget", quic.DefaultWindowBudget, "`bytes` by which the windows of all connections may grow together; negative: none")
	f.IntVar(&c.PacketSize, "packet-size", 0, "size of the first packets, `bytes`, and the least sent; 0: found out")
	f.IntVar(&c.SendBuffer, "sndbuf", quic.DefaultSocketBuffer, "SO_SNDBUF of each socket, `bytes`")
	f.IntVar(&c.RecvBuffer, "rcvbuf", quic.DefaultSocketBuffer, "SO_RCVBUF of each socket, `bytes`")
	f.BoolVar(&c.DisableGRO, "no-gro", false, "do not have the kernel join received datagrams")
	f.BoolVar(&c.DisableGSO, "no-gso", false, "do not have the kernel cut sent datagrams")
}

// registerServer declares the flags of a server.
func (k *quicKnobs) registerServer(f *pflag.FlagSet) {
	k.register(f)
	f.DurationVar(&k.config.KeepAlive, "keep-alive", 0, "how often a silent connection is kept alive; 0: not at all")
	f.IntVar(&k.config.MaxStreams, "max-streams", quic.DefaultMaxStreams, "streams a peer may have open on a connection")
	f.IntVar(&k.listen.MaxHandshakes, "max-handshakes", quic.DefaultMaxHandshakes, "half-open connections; beyond, new ones are refused")
	f.IntVar(&k.listen.RetryAbove, "retry-above", quic.DefaultRetryAbove, "half-open connections above which clients must prove their address; negative: always")
	f.UintSliceVar(&k.earlyApps, "early-apps", nil, fmt.Sprintf("app_proto_ids, parted by commas, whose frames are safe to replay and taken in 0-RTT (the load's is %d); empty: no 0-RTT", load.AppProto))
	f.StringVar(&k.resetKey, "reset-key", "", "file with 64 hexadecimal digits: the key of stateless resets that the nodes behind one address share; empty: a key of this process alone")
	f.StringVar(&k.tokenKey, "token-key", "", "file with 64 hexadecimal digits: the key of address tokens that the nodes share; empty: a key of this process alone")
}

// registerClient declares the flags of a client.
func (k *quicKnobs) registerClient(f *pflag.FlagSet) {
	k.register(f)
	f.DurationVar(&k.config.KeepAlive, "keep-alive", clientKeepAlive, "how often a silent connection is kept alive; 0: not at all")
}

// validateServer checks what the library does not check by itself, and reads the keys.
func (k *quicKnobs) validateServer() error {
	var errs []error
	for _, f := range []struct {
		flag string
		v    int
	}{{"max-streams", k.config.MaxStreams}, {"max-handshakes", k.listen.MaxHandshakes}, {"retry-above", k.listen.RetryAbove}} {
		if f.v == 0 { // to the library a zero is its default; on the command line it is a mistake
			errs = append(errs, &load.FlagError{Flag: f.flag, Value: "0", Allowed: "what --help names, and not 0"})
		}
	}
	for _, a := range k.earlyApps {
		if a < 1 || a > 0xffff {
			errs = append(errs, &load.FlagError{Flag: "early-apps", Value: fmt.Sprint(a), Allowed: "1 to 65535"})
		}
	}
	k.listen.Early = len(k.earlyApps) > 0
	for _, f := range []struct {
		flag, path string
		into       **[32]byte
	}{{"reset-key", k.resetKey, &k.listen.ResetKey}, {"token-key", k.tokenKey, &k.listen.TokenKey}} {
		if f.path == "" {
			continue
		}
		key, err := readKey(f.path)
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", f.flag, err))
			continue
		}
		*f.into = key
	}
	return errors.Join(errs...)
}

// readKey reads a key of 32 bytes in hexadecimal digits.
func readKey(path string) (*[32]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("%s does not hold 64 hexadecimal digits", path)
	}
	return (*[32]byte)(raw), nil
}

// framer fills in what concerns 0-RTT.
func (k *quicKnobs) framer(o *framer.Options) {
	for _, a := range k.earlyApps {
		o.EarlyApps = append(o.EarlyApps, uint16(a))
	}
}

// explain names the flag in an error of package quic that names a field of its configuration.
func (k *quicKnobs) explain(err error) error {
	for field, flag := range quicFields() {
		if err != nil && strings.Contains(err.Error(), "quic: "+field+" ") {
			return usage(fmt.Errorf("--%s: %w", flag, err))
		}
	}
	return err
}
