package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// samples are a value of each setting that is not its default, the field of Config that it must reach, which but for ours is the field that
// the library is given, and how the field prints then.
const samples = `
log.level              debug            LogLevel                      DEBUG
log.format             json             LogFormat                     json
admin.listen           127.0.0.1:1      Admin                         127.0.0.1:1
drain.delay            7s               DrainDelay                    7s
drain.timeout          8s               DrainTimeout                  8s
forward.routes         7=echo,*=echo    Forward.Routes                [7=echo *=echo]
forward.ca             /ca              Forward.CA                    /ca
forward.timeout        9s               Forward.Timeout               9s
forward.attempts       3                Forward.Attempts              3
forward.idempotent     5,6              Forward.Idempotent            [5 6]
forward.inflight       9                Forward.Inflight              9
forward.queue          10               Forward.Queue                 10
tls.listen             127.0.0.1:2      TLS.Listen                    127.0.0.1:2
tls.cert               /c2              TLS.Pair.CertFile             /c2
tls.key                /k2              TLS.Pair.KeyFile              /k2
tls.responder          http://r/        TLS.Pair.Responder            http://r/
tls.watch              11s              TLS.Store.Interval            11s
tls.expiry_warning     1h0m0s           TLS.Store.ExpiryWarning       1h0m0s
tls.session_tickets    false            TLS.NoTickets                 true
tls.ticket_file        /t               TLS.Store.Tickets.File        /t
tls.ticket_owner       true             TLS.Store.Tickets.Owner       true
tls.aes_gcm            go               TLS.AESGCM                    go
tls.ticket_rotate      2h0m0s           TLS.Store.Tickets.Rotate      2h0m0s
tls.ticket_keep        2                TLS.Store.Tickets.Keep        2
tls.ocsp               false            TLS.Store.OCSP.Disable        true
tls.ocsp_timeout       3s               TLS.Store.OCSP.Timeout        3s
tls.proxy_trusted      192.0.2.7/32,2001:db8::/32 TLS.Proxy.Trusted   [192.0.2.7/32 2001:db8::/32]
tls.proxy_direct       true             TLS.Proxy.Direct              true
tls.handover           /h               TLS.Handover                  /h
quic.listen            127.0.0.1:3      QUIC.Listen                   127.0.0.1:3
quic.max_streams       1024             QUIC.Lib.MaxStreams           1024
quic.early             true             QUIC.Lib.Early                true
quic.early_apps        7,8              Frames.EarlyApps              [7 8]
quic.handshake_timeout 4s               QUIC.Lib.HandshakeTimeout     4s
quic.idle_timeout      5s               QUIC.Lib.IdleTimeout          5s
quic.keep_alive        6s               QUIC.Lib.KeepAlive            6s
quic.max_handshakes    2000             QUIC.Lib.MaxHandshakes        2000
quic.retry_above       12               QUIC.Lib.RetryAbove           12
quic.sndbuf            100000           QUIC.Lib.SendBuffer           100000
quic.rcvbuf            100001           QUIC.Lib.RecvBuffer           100001
quic.stream_window     100002           QUIC.Lib.StreamWindow         100002
quic.max_stream_window 7000000          QUIC.Lib.MaxStreamWindow      7000000
quic.conn_window       100003           QUIC.Lib.ConnWindow           100003
quic.max_conn_window   16000000         QUIC.Lib.MaxConnWindow        16000000
quic.window_budget     -1               QUIC.Lib.WindowBudget         -1
quic.reset_key_file    KEY              QUIC.ResetKey                 KEY
quic.token_key_file    KEY              QUIC.TokenKey                 KEY
tor.enabled            true             Tor.Enabled                   true
tor.control            unix:/t          Tor.Lib.Control               unix:/t
tor.exe                cat              Tor.Lib.Process.Exe           cat
tor.data_dir           /d               Tor.Lib.Process.DataDir       /d
tor.key_file           /o               Tor.Service.KeyFile           /o
tor.port               444              Tor.Service.Port              444
tor.bootstrap_timeout  1m40s            Tor.Lib.BootstrapTimeout      1m40s
reactor.loops          3                Reactor.Loops                 3
reactor.accept_semaphore 5              Reactor.HandshakeWorkers      5
reactor.read_buffer    65536            Reactor.ReadBuffer            65536
reactor.write_coalesce 32768            Reactor.WriteCoalesce         32768
reactor.nodelay        false            Reactor.Nagle                 true
reactor.sndbuf         8192             Reactor.SendBuffer            8192
reactor.rcvbuf         8193             Reactor.RecvBuffer            8193
reactor.congestion     reno             Reactor.Congestion            reno
reactor.high_water     200000           Reactor.HighWater             200000
reactor.low_water      1000             Reactor.LowWater              1000
reactor.hard_cap       5000000          Reactor.HardCap               5000000
reactor.handshake_timeout 3s            Reactor.HandshakeTimeout      3s
reactor.frame_timeout  4s               Reactor.FrameTimeout          4s
reactor.idle_timeout   5s               Reactor.IdleTimeout           5s
reactor.write_timeout  6s               Reactor.WriteTimeout          6s
reactor.linger_timeout 7s               Reactor.LingerTimeout         7s
reactor.drain_timeout  8s               Reactor.DrainTimeout          8s
reactor.shutdown_grace 9s               Reactor.ShutdownGrace         9s
limits.max_conns       11               Reactor.MaxConns              11
limits.max_conns_per_peer 12            Reactor.MaxConnsPerPeer       12
limits.max_handshakes_per_peer 13       Reactor.MaxHandshakesPerPeer  13
limits.peer_conn_rate  14               Reactor.PeerConnRate          14
limits.conn_read_rate  2001             Reactor.ConnReadRate          2001
limits.conn_write_rate 2002             Reactor.ConnWriteRate         2002
limits.peer_read_rate  2003             Reactor.PeerReadRate          2003
limits.peer_write_rate 2004             Reactor.PeerWriteRate         2004
limits.buffer_budget   -1               Reactor.BufferBudget          -1
limits.min_rate        99               Reactor.MinRate               99
frames.max_frame       70000            Frames.MaxFrame               70000
frames.max_inflight    32               Frames.MaxInflight            32
frames.max_streams     33               Frames.MaxStreams             33
frames.max_inflated    4096             Frames.MaxInflated            4096
`

// needs are what else must be said for a sample to be accepted.
var needs = map[string]string{
	"tls.ticket_owner": "tls.ticket_file=/t", "quic.early_apps": "quic.early=true", "tls.ticket_keep": "tls.ticket_rotate=2h",
	"tls.proxy_direct": "tls.proxy_trusted=192.0.2.7/32,2001:db8::/32",
}

// sample is one line of samples.
type sample struct{ key, value, path, want string }

func readSamples(t *testing.T) map[string]sample {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, strings.Repeat("0f", 32)+"\n")
	all := map[string]sample{}
	for line := range strings.Lines(strings.TrimSpace(strings.ReplaceAll(samples, "KEY", key))) {
		f := strings.Fields(line)
		all[f[0]] = sample{f[0], f[1], f[2], strings.Join(f[3:], " ")}
	}
	return all
}

// base is what every configuration of these tests says in its file.
const base = "tls.cert = \"/c\"\ntls.key = \"/k\"\n"

// read loads a configuration from a file's text, variables and arguments.
func read(t *testing.T, file string, env []string, args ...string) (*effective, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.toml")
	write(t, path, file)
	f := pflag.NewFlagSet("gateway", pflag.ContinueOnError)
	declare(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return sources{file: path, env: env, flags: f}.load()
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tomlOf writes key = value with the type that the setting has.
func tomlOf(t *testing.T, key, v string) string {
	t.Helper()
	for _, s := range settings(defaults()) {
		if s.key == key {
			if err := s.value.set(v); err != nil {
				t.Fatal(key, err)
			}
			return key + " = " + s.value.toml() + "\n"
		}
	}
	t.Fatalf("there is no setting %s", key)
	return ""
}

// field follows a path of names.
func field(c *Config, path string) string {
	v := reflect.ValueOf(c).Elem()
	for name := range strings.SplitSeq(path, ".") {
		v = v.FieldByName(name)
	}
	return fmt.Sprint(v.Interface())
}

// TestEachSettingFromEachSource: the value reaches its field, and says where it is from; there is a sample of every setting.
func TestEachSettingFromEachSource(t *testing.T) {
	all := readSamples(t)
	table := settings(defaults())
	if len(table) != len(all) {
		t.Errorf("%d settings, %d samples", len(table), len(all))
	}
	for _, s := range table {
		x, ok := all[s.key]
		if !ok {
			t.Errorf("%s has no sample", s.key)
			continue
		}
		if got := field(defaults(), x.path); got == x.want {
			t.Errorf("%s: the sample is the default", s.key)
		}
		more := ""
		if need, ok := needs[s.key]; ok {
			k, v, _ := strings.Cut(need, "=")
			more = tomlOf(t, k, v)
		}
		file := more
		for line := range strings.Lines(base) {
			if !strings.HasPrefix(line, s.key+" ") {
				file += line
			}
		}
		for _, src := range []struct {
			origin string
			load   func() (*effective, error)
		}{
			{"file", func() (*effective, error) { return read(t, file+tomlOf(t, s.key, x.value), nil) }},
			{"environment " + s.env(), func() (*effective, error) { return read(t, file, []string{s.env() + "=" + x.value}) }},
			{"flag --" + s.flag(), func() (*effective, error) { return read(t, file, nil, "--"+s.flag()+"="+x.value) }},
		} {
			e, _ := src.load() // what does not go with the rest of the sample is refused, but is set all the same
			if got := field(e.Config, x.path); got != x.want {
				t.Errorf("%s from %s: %s is %s, want %s", s.key, src.origin, x.path, got, x.want)
			}
			if !strings.HasPrefix(e.origin[s.key], src.origin) {
				t.Errorf("%s from %s: the origin is %q", s.key, src.origin, e.origin[s.key])
			}
		}
	}
}

// TestPrecedence: flags before variables before the file before defaults, for every setting.
func TestPrecedence(t *testing.T) {
	all := readSamples(t)
	for _, s := range settings(defaults()) {
		x, usual := all[s.key], s.value.get()
		e, _ := read(t, tomlOf(t, s.key, x.value), []string{s.env() + "=" + usual})
		if got := e.byKey(t, s.key); got != usual {
			t.Errorf("%s: %s, want the variable's %s", s.key, got, usual)
		}
		e, _ = read(t, tomlOf(t, s.key, usual), []string{s.env() + "=" + usual}, "--"+s.flag()+"="+x.value)
		if got := e.byKey(t, s.key); got != x.value {
			t.Errorf("%s: %s, want the flag's %s", s.key, got, x.value)
		}
	}
}

func (e *effective) byKey(t *testing.T, key string) string {
	t.Helper()
	for _, s := range e.table {
		if s.key == key {
			return s.value.get()
		}
	}
	t.Fatalf("there is no setting %s", key)
	return ""
}

// TestPrintConfigRoundTrip: what is printed, fed back as the only source, gives the same configuration and the same print but for the
// origins.
func TestPrintConfigRoundTrip(t *testing.T) {
	var env []string
	for _, x := range readSamples(t) {
		if !strings.HasPrefix(x.key, "tor.") && x.key != "tls.handover" && x.key != "tls.session_tickets" && x.key != "forward.ca" {
			env = append(env, setting.Prefix+strings.ToUpper(strings.ReplaceAll(x.key, ".", "_"))+"="+x.value)
		}
	}
	first, err := read(t, "", env, "--tls-cert=quote\" back\\slash\tü")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := first.print(&out); err != nil {
		t.Fatal(err)
	}
	second, err := read(t, out.String(), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if !reflect.DeepEqual(first.Config, second.Config) {
		t.Errorf("%+v\nhas become\n%+v", first.Config, second.Config)
	}
	if !strings.Contains(out.String(), "loops = 3 # environment RON_TRANSPORT_REACTOR_LOOPS\n") {
		t.Errorf("no origin in\n%s", out.String())
	}
	for _, s := range second.table {
		if !strings.HasPrefix(second.origin[s.key], "file ") {
			t.Errorf("%s has not been printed", s.key)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/open", strings.Repeat("0f", 32))
	if err := os.Chmod(dir+"/open", 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/short", "0f")
	for _, tc := range []struct {
		name, file string
		args       []string
		want       []string // all of these
	}{
		{"no certificate", "", nil, []string{"tls.cert", `""`, "default", "PEM"}},
		{"unknown key", base + "tls.lissten = \"x\"\n", nil, []string{"tls.lissten", "no such setting"}},
		{"wrong type", base + "reactor.loops = \"3\"\n", nil, []string{"reactor.loops", "integer", "file"}},
		{"float", base + "reactor.loops = 3.5\n", nil, []string{"reactor.loops", "3.5", "integer"}},
		{"syntax", "tls = [", nil, []string{"gateway.toml"}},
		{"library's range", base, []string{"--reactor-loops=257"}, []string{"reactor.loops = 257", "flag --reactor-loops", "1 to 256"}},
		{"relation", base, []string{"--reactor-low-water=300000"}, []string{"reactor.low_water = 300000", "1 to 262144"}},
		{"inflight", base, []string{"--frames-max-inflight=65"}, []string{"frames.max_inflight = 65", "1 to 64"}},
		{"ticket", base, []string{"--tls-ticket-rotate=1s"}, []string{"tls.ticket_rotate", "1s", "1m0s to 168h"}},
		{"quic", base, []string{"--quic-max-streams=70000"}, []string{"quic.max_streams = 70000", "1 to 65536"}},
		{"zero", base, []string{"--quic-max-streams=0"}, []string{"quic.max_streams = 0", "1 to 65536", "512"}},
		{"bootstrap", base, []string{"--tor-enabled", "--tor-control=unix:/x", "--tor-bootstrap-timeout=1h"}, []string{"tor.bootstrap_timeout", "1h0m0s", "1s to 10m"}},
		{"nothing to do", "tls.listen = \"\"\n", nil, []string{"tls.listen", "at least one"}},
		{"address", base, []string{"--quic-listen=here"}, []string{"quic.listen", "here", "host:port"}},
		{"early apps", base, []string{"--quic-early-apps=7"}, []string{"quic.early_apps", "only with quic.early"}},
		{"handover", base, []string{"--tls-handover=/h", "--quic-listen=:1"}, []string{"tls.handover", "/h", "without quic.listen"}},
		{"balancer's name", base, []string{"--tls-proxy-trusted=192.0.2.1,lb.example"}, []string{"tls.proxy_trusted", "lb.example", "10.1.0.0/16"}},
		{"bits after a prefix", base, []string{"--tls-proxy-trusted=10.1.2.3/16"}, []string{"tls.proxy_trusted", "10.1.2.3/16", "IP addresses"}},
		{"mapped balancer", base, []string{"--tls-proxy-trusted=::ffff:192.0.2.1"}, []string{"tls.proxy_trusted", "Trusted[0]", "not mapped"}},
		{"everybody a balancer", base, []string{"--tls-proxy-trusted=0.0.0.0/0"}, []string{"tls.proxy_trusted", "0.0.0.0/0", "one bit at least"}},
		{"too many balancers", base, []string{"--tls-proxy-trusted=" + strings.Repeat("192.0.2.1,", 256) + "192.0.2.2"}, []string{"tls.proxy_trusted", "257", "1 to 256"}},
		{"balancers without TLS", base, []string{"--tls-listen=", "--quic-listen=:1", "--tls-proxy-trusted=192.0.2.1"}, []string{"tls.proxy_trusted", "192.0.2.1", "only with tls.listen"}},
		{"direct without balancers", base, []string{"--tls-proxy-direct"}, []string{"tls.proxy_direct", "only with tls.proxy_trusted"}},
		{"route", base, []string{"--forward-routes=7=ftp://x:1"}, []string{"forward.routes", "ftp://x:1", "tcp://host:port"}},
		{"two routes", base, []string{"--forward-routes=7=echo,7=echo"}, []string{"forward.routes", "7", "allowed is one"}},
		{"route of HELLO", base, []string{"--forward-routes=0=echo"}, []string{"forward.routes", "1 to 65535"}},
		{"timeout over the grace", base, []string{"--forward-routes=*=tcp://x:1", "--forward-timeout=11s"}, []string{"forward.timeout", "11s", "10s"}},
		{"port of a listener", base, []string{"--tls-listen=127.0.0.1:99999", "--admin-listen=:9x"}, []string{"tls.listen", "99999", "admin.listen", ":9x", "0 to 65535"}},
		{"two listeners", base, []string{"--tls-listen=127.0.0.1:7777", "--admin-listen=127.0.0.1:7777"}, []string{"admin.listen", "127.0.0.1:7777", "another address"}},
		{"port of an upstream", base, []string{"--forward-routes=*=tcp://127.0.0.1:70000"}, []string{"forward.routes", "70000", "1 to 65535"}},
		{"port 0 of an upstream", base, []string{"--forward-routes=*=tcp://127.0.0.1:0"}, []string{"forward.routes", "1 to 65535"}},
		{"host of an upstream", base, []string{"--forward-routes=*=tcp://:80"}, []string{"forward.routes", "tcp://:80", "tcp://host:port"}},
		{"expiry", base, []string{"--tls-expiry-warning=1000000h"}, []string{"tls.expiry_warning", "1000000h", "up to 8784h"}},
		{"early without apps", base, []string{"--quic-early", "--quic-listen=:1"}, []string{"quic.early", "only with quic.early_apps"}},
		{"roots", base, []string{"--forward-ca=" + dir + "/none"}, []string{"forward.ca", "/none", "no such file"}},
		{"drain below the grace", base, []string{"--forward-routes=*=tcp://x:1", "--drain-timeout=9s"}, []string{"drain.timeout", "9s", "reactor.shutdown_grace, 10s, or more"}},
		{"open key", base, []string{"--quic-reset-key-file=" + dir + "/open"}, []string{"quic.reset_key_file", "mode 0644", "neither group nor others"}},
		{"short key", base, []string{"--quic-token-key-file=" + dir + "/short"}, []string{"quic.token_key_file", "64 hexadecimal"}},
		{"several", base, []string{"--log-level=loud", "--drain-delay=-1s"}, []string{"log.level", "loud", "drain.delay", "-1s", "0s to 1h"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := read(t, tc.file, nil, tc.args...)
			for _, w := range tc.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v; it must contain %q", err, w)
				}
			}
		})
	}
}

// TestVariables: those that begin as ours do and are no setting are refused, but for what Kubernetes adds for services whose names begin so.
func TestVariables(t *testing.T) {
	if _, err := read(t, base, []string{"RON_TRANSPORT_TLS_LISSTEN=x"}); err == nil || !strings.Contains(err.Error(), "RON_TRANSPORT_TLS_LISSTEN") {
		t.Errorf("an unknown variable: %v", err)
	}
	// Of services called ron-transport and ron-transport-gateway.
	links := []string{"SERVICE_HOST=10.0.0.1", "SERVICE_PORT=8443", "SERVICE_PORT_QUIC=8443", "PORT=tcp://10.0.0.1:8443", "PORT_8443_TCP=tcp://10.0.0.1:8443",
		"PORT_8443_TCP_PROTO=tcp", "PORT_8443_UDP_PORT=8443", "PORT_8443_TCP_ADDR=10.0.0.1", "GATEWAY_SERVICE_HOST=10.0.0.2", "GATEWAY_PORT=udp://10.0.0.2:1"}
	for i := range links {
		links[i] = setting.Prefix + links[i]
	}
	if _, err := read(t, base, links); err != nil {
		t.Error(err)
	}
	if _, err := read(t, base, []string{"RON_TRANSPORT_TLS_PORT=8443"}); err == nil || !strings.Contains(err.Error(), "RON_TRANSPORT_TLS_PORT") {
		t.Errorf("a variable that looks like a setting: %v", err)
	}
	if _, err := read(t, base, []string{"HOME=/", setting.ConfigEnv + "=/x"}); err != nil {
		t.Error(err)
	}
}

// TestDocumentedSettings: the documentation's table is the one that --print-settings prints.
func TestDocumentedSettings(t *testing.T) {
	var table bytes.Buffer
	if err := writeTable(&table); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "gateway.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, table.Bytes()) {
		t.Errorf("docs/gateway.md does not hold the table; it is to be:\n%s", table.String())
	}
}

// TestKeyIsRead: the key that is used is the one that was checked, also when its file has gone since.
func TestKeyIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write(t, path, strings.Repeat("0f", 32))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := read(t, base, nil, "--quic-reset-key-file="+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	end := &app{ends: map[string]*endpoint{"quic": {}}}
	if lc := end.quicConfig(e.Config); lc.ResetKey == nil || lc.ResetKey[31] != 0x0f || lc.TokenKey != nil {
		t.Errorf("the keys are %v and %v", lc.ResetKey, lc.TokenKey)
	}
}
