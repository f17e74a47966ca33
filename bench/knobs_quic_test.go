package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
)

// parseQUIC parses arguments as a server or a client does.
func parseQUIC(t *testing.T, server bool, args ...string) *quicKnobs {
	t.Helper()
	k := new(quicKnobs)
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	if server {
		k.registerServer(f)
	} else {
		k.registerClient(f)
	}
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return k
}

// Every field of quic.Config has exactly its flag, on the server and, but for what concerns accepted streams, on the client:
// setting the flag sets that field and no other.
func TestQUICKnobsReachTheirFields(t *testing.T) {
	fields := reflect.TypeFor[quic.Config]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if name == "Logger" {
			continue
		}
		flag, ok := quicFields()[name]
		if !ok {
			t.Errorf("quic.Config.%s has no flag", name)
			continue
		}
		for _, server := range []bool{true, false} {
			if name == "MaxStreams" && !server { // a server of ours opens none
				continue
			}
			want := parseQUIC(t, server).config
			v, value := reflect.ValueOf(&want).Elem().Field(i), "12345"
			switch v.Interface().(type) {
			case time.Duration:
				v.SetInt(12345)
				value = "12345ns"
			case bool:
				v.SetBool(true)
				value = "true"
			default:
				v.SetInt(12345)
			}
			if got := parseQUIC(t, server, "--"+flag+"="+value).config; got != want {
				t.Errorf("--%s %s: %+v, want only %s to change", flag, value, got, name)
			}
		}
	}
}

// Every field of quic.ListenConfig is a flag or the server's own business.
func TestQUICListenFlags(t *testing.T) {
	own := []string{"Config", "TLS", "Protocol", "Refuse", "Conns", "OnError"}
	fields := reflect.TypeFor[quic.ListenConfig]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; !slices.Contains(own, name) && quicFields()[name] == "" {
			t.Errorf("quic.ListenConfig.%s has no flag", name)
		}
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("0f", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := parseQUIC(t, true, "--max-handshakes=7", "--retry-above=-1", "--early-apps=9,77", "--reset-key="+path, "--token-key="+path)
	if err := k.validateServer(); err != nil {
		t.Fatal(err)
	}
	want := [32]byte(slices.Repeat([]byte{15}, 32))
	if l := k.listen; l.MaxHandshakes != 7 || l.RetryAbove != -1 || !l.Early || *l.ResetKey != want || *l.TokenKey != want {
		t.Errorf("%+v", l)
	}
	var o framer.Options
	if k.framer(&o); !slices.Equal(o.EarlyApps, []uint16{9, 77}) {
		t.Errorf("EarlyApps %v", o.EarlyApps)
	}
	k = parseQUIC(t, true)
	if err := k.validateServer(); err != nil || k.listen.Early || k.listen.ResetKey != nil || k.listen.TokenKey != nil {
		t.Errorf("%+v, %v", k.listen, err)
	}
}

// The defaults that --help prints are the library's, and valid.
func TestQUICDefaultsAreTheLibrarys(t *testing.T) {
	c := parseQUIC(t, true).config
	if c.MaxStreams != quic.DefaultMaxStreams || c.StreamWindow != quic.DefaultStreamWindow || c.ConnWindow != quic.DefaultConnWindow ||
		c.MaxStreamWindow != quic.DefaultMaxStreamWindow || c.MaxConnWindow != quic.DefaultMaxConnWindow || c.IdleTimeout != quic.DefaultIdleTimeout ||
		c.HandshakeTimeout != quic.DefaultHandshakeTimeout || c.SendBuffer != quic.DefaultSocketBuffer || c.RecvBuffer != quic.DefaultSocketBuffer {
		t.Errorf("%+v", c)
	}
	o := &serverOptions{kind: kindOf(t, "quic_echo_server"), listen: "127.0.0.1:0"}
	startQUIC(t, o)
}

// The client's flags are in the configuration of its dialer.
func TestQUICClientFlags(t *testing.T) {
	o := &clientOptions{transport: load.QUIC}
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.register(f)
	if err := f.Parse(strings.Fields("--target quic://127.0.0.1:8443 --conns 200 --streams 512 --payload 65536 --max-inflight 3 --early --resume --loops 5 --sndbuf 12345 --no-gso")); err != nil {
		t.Fatal(err)
	}
	if err := o.parseTarget(); err != nil {
		t.Fatal(err)
	}
	n, err := o.netConfig()
	if err != nil {
		t.Fatal(err)
	}
	if n.Transport != load.QUIC || !n.Early || n.Loops != 5 || n.QUIC.SendBuffer != 12345 || !n.QUIC.DisableGSO || n.QUIC.DisableGRO || n.QUIC.KeepAlive != clientKeepAlive ||
		n.Addr != "127.0.0.1:8443" || n.TLS == nil || n.TLS.ClientSessionCache == nil {
		t.Errorf("%+v", n)
	}
	if l := o.load; l.Conns != 200 || l.Streams != 512 || l.Payload != 65536 || l.MaxInflight != 3 || l.Depth != 1 || l.RPS != 0 {
		t.Errorf("%+v", l)
	}
}

func kindOf(t *testing.T, command string) serverKind {
	t.Helper()
	i := slices.IndexFunc(serverKinds(), func(k serverKind) bool { return k.command == command })
	if i < 0 {
		t.Fatalf("no %s", command)
	}
	return serverKinds()[i]
}
